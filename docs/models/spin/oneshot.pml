/* One-shot exchanges with a platform: each request takes effect once, whatever is repeated, reordered or lost, and wherever the platform
   crashes; and a requester that is patient learns what came of it (docs/protocol.md 7).

   Requests are under way at the same time and overtake one another within WINDOW, which stands for 64. The network delivers any record that
   was ever sent, in any order, any number of times, or never. Both sides crash between any two steps.

   Compile with -DBUG_… to plant a bug, and with -DWITNESS_… to see that a situation is reached at all: either must make an assertion
   fail. ./check runs them all. */

#ifndef REQUESTS
#define REQUESTS 5
#endif
#define WINDOW 2
#define LOST 2
#define EPOCHS (REQUESTS + LOST + 1)

/* the network */
byte epoch[REQUESTS];		/* of INIT k */
byte inits;
bool resp[REQUESTS];		/* RESP to INIT k was sent */

/* what the assertions want to know */
byte effect[REQUESTS];

/* P, durable: the window of epochs, and with each the INIT that used it, 1 + k */
byte highest;
byte by[EPOCHS];

/* the requester, durable */
byte next;

active proctype Requester() {
	byte k, e, lost;
	bool waits[REQUESTS];		/* volatile */
	do
	:: atomic { inits < REQUESTS ->
		e = next + 1;
#ifndef BUG_EPOCH_WRITTEN_AFTER_USE
		next = e		/* written and synced, before INIT leaves */
#endif
		}
		if
		:: atomic { epoch[inits] = e; waits[inits] = true; inits++ }
		:: atomic { lost < LOST -> lost++; k = 0; do :: k < REQUESTS -> waits[k] = false; k++ :: else -> k = 0; break od }	/* crash */
		fi;
#ifdef BUG_EPOCH_WRITTEN_AFTER_USE
		if
		:: next = e
		:: atomic { lost < LOST -> lost++; k = 0; do :: k < REQUESTS -> waits[k] = false; k++ :: else -> k = 0; break od }	/* crash */
		fi;
#endif
		e = 0
	:: atomic { inits > 0 -> select(k : 0 .. inits - 1);
		if
		:: resp[k] && waits[k] ->	/* TH2 binds RESP to its INIT: no other passes for it */
			assert(effect[k] == 1);
			waits[k] = false
		:: else
		fi;
		k = 0 }
	:: inits == REQUESTS -> break
	od
}

inline take(k) {
	if
	:: epoch[k] > highest -> highest = epoch[k]
	:: else
	fi;
	by[epoch[k]] = k + 1;
	resp[k] = true
}

active proctype P() {
	byte k;
	do
	:: atomic { inits > 0 -> select(k : 0 .. inits - 1);
		if
		:: by[epoch[k]] == k + 1 -> resp[k] = true	/* the stored RESP again */
		:: by[epoch[k]] != 0 && by[epoch[k]] != k + 1 ->
			assert(false)			/* the epoch served another request: this one can never be made */
		:: by[epoch[k]] == 0 && highest >= WINDOW && epoch[k] <= highest - WINDOW ->
			/* too old: for its sender to ask again, and without effect */
#ifdef WITNESS_TOO_OLD
			assert(false);
#endif
			assert(effect[k] == 0)
		:: else ->
#ifdef WITNESS_OVERTAKEN
			assert(epoch[k] > highest);
#endif
#ifdef BUG_TWO_TRANSACTIONS
			effect[k]++;
			assert(effect[k] <= 1);
			goto between;
#else
			effect[k]++;			/* the request's effect, window and RESP: one transaction */
			assert(effect[k] <= 1);
			take(k)
#endif
		fi;
		k = 0 }
#ifdef BUG_TWO_TRANSACTIONS
		goto over;
between:	if
		:: atomic { take(k); k = 0 }
		:: k = 0				/* crash */
		fi;
over:		skip
#endif
	:: inits == REQUESTS -> break
	od
}
