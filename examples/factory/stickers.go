package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/semio-iot/semio/devicegw"
	"github.com/semio-iot/semio/examples/internal/cli"
	"github.com/semio-iot/semio/examples/internal/files"
	"github.com/semio-iot/semio/examples/internal/unit"
	"github.com/semio-iot/semio/identity"
	"github.com/semio-iot/semio/identity/label"
)

// printSheets draws the stickers of the units that are done, in the order of their names. A sticker whose text was deleted has been
// printed, and is left out.
func (l *line) printSheets(jobs []*job) (int, error) {
	var stickers []identity.Sticker
	for _, j := range jobs {
		r, err := l.readReport(j)
		if err != nil {
			return 0, err
		}
		if r.Status != statusDone {
			continue
		}
		b, err := os.ReadFile(l.stickerFile(j.id))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		s, err := identity.ParseSticker(string(b))
		if err != nil {
			return 0, fmt.Errorf("%s: %w; the command sticker writes it anew", l.stickerFile(j.id), err)
		}
		if s.Device != j.id {
			return 0, fmt.Errorf("%s is the sticker of %s", l.stickerFile(j.id), s.Device)
		}
		stickers = append(stickers, s)
	}
	slices.SortFunc(stickers, func(a, b identity.Sticker) int { return strings.Compare(a.Device.String(), b.Device.String()) })
	var pages [][]byte
	var err error
	if len(stickers) > 0 {
		if pages, err = label.Sheets(stickers, label.Options{}); err != nil {
			return 0, err
		}
	}
	for i, page := range pages {
		path := l.sheetFile(i)
		if have, err := os.ReadFile(path); err == nil && bytes.Equal(have, page) {
			continue
		}
		if err := files.Write(path, page, true); err != nil {
			return i, err
		}
	}
	// Those of a larger set of stickers.
	for i := len(pages); os.Remove(l.sheetFile(i)) == nil; i++ {
	}
	return len(pages), nil
}

func (l *line) sheetFile(i int) string {
	return filepath.Join(*l.dir, "stickers", fmt.Sprintf("sheet-%03d.png", i+1))
}

// sticker derives a sticker again: nobody needs to keep it.
func sticker(f *cli.Flags) cli.Action {
	l := &line{dir: dirFlag(f)}
	return func(ctx context.Context, t *cli.Terminal, args []string) error {
		if len(args) != 1 {
			return cli.Usage("name one device")
		}
		id, err := identity.ParseDeviceID(args[0])
		if err != nil {
			return cli.Usage("%v", err)
		}
		u, err := unit.Open(filepath.Join(*l.dir, "units", id.String()))
		if err != nil {
			return err
		}
		defer u.Close()
		vault, err := u.PowerUp(ctx)
		if err != nil {
			return err
		}
		defer vault.Close()
		p, err := devicegw.Produce(ctx, vault, u.NVM, id)
		if err != nil {
			return err
		}
		if err := files.Write(l.stickerFile(id), []byte(p.Sticker().Encode()+"\n"), true); err != nil {
			return err
		}
		return label.Terminal(t.Out, p.Sticker())
	}
}
