package crashfs

import (
	"fmt"
	"iter"
	"maps"
	"path/filepath"
	"slices"
)

// Crash is one state that a power cut may leave.
type Crash struct {
	FS    *FS    // as found at the next boot; records anew, so that recovery can be crashed too
	After int    // operations that ran before the cut
	Op    string // the last of them
	Names string // which unsynced names survived
	Data  string // what became of unsynced data
}

// String describes the crash for the message of a failed check.
func (c Crash) String() string {
	return fmt.Sprintf("power cut after operation %d (%s), names: %s, data: %s", c.After, c.Op, c.Names, c.Data)
}

// Crashes yields the states that a power cut may leave after each prefix of the operations recorded so far, the empty one and the
// whole included. It does not disturb the record.
func (f *FS) Crashes() iter.Seq[Crash] {
	f.mu.Lock()
	base, log := f.base.clone(), slices.Clone(f.log)
	f.mu.Unlock()
	return func(yield func(Crash) bool) {
		for n := range len(log) + 1 {
			last := "none"
			if n > 0 {
				last = log[n-1].String()
			}
			for _, names := range survivors(log[:n]) {
				for _, data := range fates {
					t := replay(base, log[:n], names.keep, data)
					if !yield(Crash{FS: start(t), After: n, Op: last, Names: names.what, Data: data.what}) {
						return
					}
				}
			}
		}
	}
}

// fate decides what of the unsynced bytes is on the medium.
type fate struct {
	what string
	left func(unsynced []byte) []byte
}

var fates = []fate{
	{"unsynced lost", func([]byte) []byte { return nil }},
	{"unsynced torn", func(b []byte) []byte { return b[:len(b)/2] }},
	// The size reached the medium, the blocks did not.
	{"unsynced zeros", func(b []byte) []byte { return make([]byte, len(b)) }},
	{"unsynced kept", func(b []byte) []byte { return b }},
}

// selection says which of the operations on names are on the medium.
type selection struct {
	what string
	keep func(i int) bool
}

// survivors lists selections of the operations on names that no SyncDir covers.
func survivors(log []op) []selection {
	var pending []int
	for i, o := range log {
		switch o.kind {
		case opCreate, opRename, opRemove:
			pending = append(pending, i)
		case opSyncDir:
			pending = slices.DeleteFunc(pending, func(j int) bool { return filepath.Dir(log[j].name) == o.name })
		}
	}
	isPending := make(map[int]bool, len(pending))
	for _, i := range pending {
		isPending[i] = true
	}
	var all []selection
	add := func(what string, keep func(i int) bool) {
		all = append(all, selection{what, func(i int) bool { return !isPending[i] || keep(i) }})
	}
	for n := range len(pending) + 1 {
		limit := len(log)
		if n < len(pending) {
			limit = pending[n]
		}
		add(fmt.Sprintf("%d of %d unsynced", n, len(pending)), func(i int) bool { return i < limit })
	}
	// Operations that share no name go to different blocks of the medium, in any order.
	group, groups := groupByName(log, pending)
	if groups < 2 {
		return all
	}
	for g := range groups {
		add(fmt.Sprintf("group %d of %d lost", g+1, groups), func(i int) bool { return group[i] != g })
		if groups > 2 {
			add(fmt.Sprintf("group %d of %d alone", g+1, groups), func(i int) bool { return group[i] == g })
		}
	}
	return all
}

// groupByName partitions the pending operations into groups that share no name.
func groupByName(log []op, pending []int) (group map[int]int, groups int) {
	touched := func(o op) []string {
		if o.kind == opRename {
			return []string{o.name, o.to}
		}
		return []string{o.name}
	}
	group = map[int]int{}
	byName := map[string]int{}
	for _, i := range pending {
		g := -1
		for _, name := range touched(log[i]) {
			h, ok := byName[name]
			switch {
			case !ok:
			case g < 0:
				g = h
			case g != h: // this operation joins two groups
				for j, old := range group {
					if old == h {
						group[j] = g
					}
				}
				for other, old := range byName {
					if old == h {
						byName[other] = g
					}
				}
			}
		}
		if g < 0 {
			g = groups
			groups++
		}
		group[i] = g
		for _, name := range touched(log[i]) {
			byName[name] = g
		}
	}
	// Joined groups left holes in the numbering.
	number := map[int]int{}
	for _, i := range pending {
		g := group[i]
		if _, ok := number[g]; !ok {
			number[g] = len(number)
		}
		group[i] = number[g]
	}
	return group, len(number)
}

func replay(base tree, log []op, keep func(i int) bool, data fate) tree {
	t := base.clone()
	unsynced := map[int][]byte{}
	for i, o := range log {
		switch o.kind {
		case opCreate:
			t.data[o.node] = nil
			if keep(i) {
				t.apply(o)
			}
		case opWrite:
			unsynced[o.node] = append(unsynced[o.node], o.data...)
		case opSync:
			t.data[o.node] = append(t.data[o.node], unsynced[o.node]...)
			delete(unsynced, o.node)
		case opMkdir:
			t.apply(o)
		case opRename, opRemove:
			if keep(i) {
				t.apply(o)
			}
		}
	}
	for node, b := range unsynced {
		t.data[node] = append(t.data[node], data.left(b)...)
	}
	linked := map[int]bool{}
	for _, node := range t.names {
		linked[node] = true
	}
	maps.DeleteFunc(t.data, func(node int, _ []byte) bool { return !linked[node] })
	return t
}
