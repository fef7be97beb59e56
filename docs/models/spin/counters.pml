/* Counters, generations of keys and crashes: no key and counter seal twice, nothing is delivered twice, and nothing forged moves a
   receiver, so that what is new and genuine is taken.

   One direction of a session, S to R, with SHIFT for the 2^16 messages of a generation, AHEAD for the 16 generations that R derives ahead, and
   WINDOW for the 64 of a windowed receiver (0: a strict one). S crashes between any two steps; session keys live in RAM only, so it then needs
   a new session, with other keys, as both sides do. The network delivers any record of any session in any order, any number of times, or
   never, and forges records with any counter.

   Compile with -DBUG_… to plant a bug, and with -DWITNESS_… to see that a situation is reached at all: either must make an assertion
   fail. ./check runs them all. */

#define SESSIONS 2
#ifndef COUNTERS
#define COUNTERS 8		/* the hard limit of messages */
#endif
#define SHIFT 1
#define AHEAD 2
#ifndef WINDOW
#define WINDOW 0
#endif
#define NONE 255

bool sealed[SESSIONS * COUNTERS], delivered[SESSIONS * COUNTERS];
byte session;			/* the latest handshake's; R learns of it with the handshake */

/* R; next is the highest counter received + 1, generation that of the keys it has, before the one it still keeps of older ones */
byte rSession, next, generation, before = NONE;

active proctype S() {
	byte sent, mine;
#ifdef BUG_COUNTER_WRITTEN_AFTER_USE
	byte durable;		/* the session is kept on disk, and its counter written behind each message */
#endif
	do
	:: sent < COUNTERS ->
		atomic {
			assert(!sealed[mine * COUNTERS + sent]);
			sealed[mine * COUNTERS + sent] = true;
			sent++ }
#ifdef BUG_COUNTER_WRITTEN_AFTER_USE
		if
		:: durable = sent
		:: sent = durable	/* crash */
		fi
#else
	:: atomic { session < SESSIONS - 1 -> session++; mine = session; sent = 0 }	/* crash, and a new handshake */
#endif
	:: sent == COUNTERS -> break
	od
}

active proctype R() {
	byte c, k, newest;
	bool genuine, was;
	do
	:: atomic { rSession < session -> rSession++; next = 0; generation = 0; before = NONE }
	:: atomic {
		select(c : 0 .. COUNTERS - 1);
		if
		:: sealed[rSession * COUNTERS + c] -> genuine = true
		:: genuine = false			/* forged, or of another session: its tag is wrong */
		fi;
		/* What R must do, judged by what it delivered. */
		newest = 0;
		for (k : 0 .. COUNTERS - 1) {
			if
			:: delivered[rSession * COUNTERS + k] -> newest = k + 1
			:: else
			fi
		}
		k = 0;
		was = delivered[rSession * COUNTERS + c];
#ifdef BUG_MOVES_BEFORE_THE_TAG
		if
		:: !genuine && c >= next -> next = c + 1; generation = c >> SHIFT
		:: else
		fi;
#endif
		if
		:: genuine && (c >> SHIFT) <= generation + AHEAD &&
		   ((c >> SHIFT) >= generation || (c >> SHIFT) == before) &&
		   (c >= next || (WINDOW > 0 && next - 1 - c < WINDOW
#ifndef BUG_WINDOW_FORGETS
			&& !was
#endif
			)) ->
			assert(!delivered[rSession * COUNTERS + c]);
#ifdef WITNESS_OVERTAKEN_ACROSS_GENERATIONS
			assert(!(c < next && (c >> SHIFT) < generation));
#endif
#ifdef WITNESS_GENERATION_SKIPPED
			assert((c >> SHIFT) < generation + 2);
#endif
			delivered[rSession * COUNTERS + c] = true;
			if
			:: (c >> SHIFT) > generation ->
#if WINDOW > 0 && !defined(BUG_OLD_KEYS_WIPED_AT_ONCE)
				before = (c >> SHIFT) - 1;
#endif
				generation = c >> SHIFT
			:: else
			fi;
			if
			:: c >= next -> next = c + 1
			:: else
			fi;
#ifndef BUG_OLD_KEYS_KEPT
			/* The window does not reach into the generation before any more. */
			if
			:: before != NONE && (next - 1) % (1 << SHIFT) >= WINDOW - 1 -> before = NONE
			:: else
			fi
#endif
		:: else ->
			/* Refused: rightly so? A genuine record that was not delivered is refused only for its age. */
			assert(!genuine || was || c < newest || (c >> SHIFT) > generation + AHEAD);
			assert(WINDOW == 0 || !genuine || was || newest - 1 - c >= WINDOW || c >= newest)
		fi;
		/* Forward secrecy: keys that can open nothing more are gone. */
		assert(before == NONE || next - 1 - ((before + 1) * (1 << SHIFT) - 1) < WINDOW);
		c = 0; genuine = false; was = false; newest = 0 }
	:: rSession == SESSIONS - 1 -> break
	od
}
