/* Epochs, crashes and restored backups: early data is delivered at most once, and an epoch serves one INIT.

   One direction of a binding: I initiates, R responds; the other direction has numbers of its own and is the same again. The network is
   the adversary: every INIT and CHALLENGE that was ever sent can be delivered at any time, any number of times, or never. Each side
   crashes between any two steps and comes back with what was durable, and is restored from a backup of any age.

   Compile with -DBUG_… to plant a bug, and with -DWITNESS_… to see that a situation is reached at all: either must make an assertion
   fail. ./check runs them all. */

#ifndef INITS
#define INITS 3
#endif
#ifndef CHALLENGES
#define CHALLENGES 2
#endif
#ifndef LOST
#define LOST 1			/* epochs taken for an INIT that a crash kept from leaving */
#endif
#define RESTORES 1		/* of each side */
#define LEAP 8			/* what a restored initiator leaps: more than it can have used since the backup */
#define NONE 255

/* the network */
byte epoch[INITS], echo[INITS];	/* echo: the nonce, 0 for none */
byte inits;
byte challenged[CHALLENGES], highest[CHALLENGES], token[CHALLENGES];	/* INIT, epoch, nonce of each CHALLENGE */
byte challenges, nonces;

/* what the assertions want to know */
bool delivered[INITS], iRolledBack, rRolledBack;

/* I and R: durable. The rest of them is local, and gone after a crash. */
byte next;
byte seen;
bool restored;			/* R takes no INIT without an echo */

active proctype I() {
	byte outstanding = NONE, e, nonce, k, c, restores, lost;
	do
	:: atomic { inits < INITS ->	/* start anew, or answer a CHALLENGE to the outstanding INIT */
		if
		:: nonce = 0
		:: challenges > 0 ->
			select(c : 0 .. challenges - 1);
			if
			:: challenged[c] == outstanding ->
				nonce = token[c];
				if
				:: highest[c] > next -> next = highest[c]
				:: else
				fi
			:: else -> nonce = 0
			fi;
			c = 0
		fi;
		e = next + 1;
#ifndef BUG_EPOCH_WRITTEN_AFTER_USE
		next = e		/* written and synced, before INIT leaves */
#endif
		}
		if
		:: atomic {
			do
			:: k < inits -> assert(epoch[k] != e || iRolledBack); k++
			:: else -> k = 0; break
			od;
			epoch[inits] = e; echo[inits] = nonce; outstanding = inits; inits++ }
		:: atomic { lost < LOST -> lost++; outstanding = NONE }	/* crash */
		fi;
#ifdef BUG_EPOCH_WRITTEN_AFTER_USE
		if
		:: next = e
		:: outstanding = NONE	/* crash */
		fi;
#endif
		d_step { e = 0; nonce = 0 }
	:: atomic { outstanding != NONE -> outstanding = NONE }	/* crash */
	:: atomic { restores < RESTORES ->
		restores++; outstanding = NONE; iRolledBack = true;
		select(e : 0 .. next);
#ifdef BUG_NO_LEAP
		next = e;
#else
		next = e + LEAP;
#endif
		e = 0 }
	:: inits == INITS -> break
	od
}

active proctype R() {
	byte nonce, i, restores;	/* nonce: of the outstanding CHALLENGE, 0 for none */
	bool echoed;
	do
	:: atomic { inits > 0 ->
		select(i : 0 .. inits - 1);
		echoed = echo[i] != 0 && echo[i] == nonce;
		if
#ifdef BUG_RESTORED_WITHOUT_ECHO
		:: epoch[i] <= seen ->
#else
		:: epoch[i] <= seen || (restored && !echoed) ->
#endif
			if
			:: challenges < CHALLENGES ->
				if
				:: nonce == 0 -> nonces++; nonce = nonces
				:: else		/* it stays the same for its life */
				fi;
				challenged[challenges] = i; highest[challenges] = seen; token[challenges] = nonce; challenges++
			:: else
			fi
		:: else -> goto accept
		fi;
		i = 0; echoed = false; goto idle }
accept:
		if
		:: echoed -> nonce = 0
		:: else
		fi;
#ifndef BUG_SEEN_WRITTEN_AFTER_DELIVERY
		atomic { seen = epoch[i]; restored = false }	/* one write, synced, before delivery */
#endif
		if
		:: atomic {
			assert(!delivered[i]);
#ifdef WITNESS_DELIVERED_BY_ECHO
			assert(!echoed);
#endif
#ifdef WITNESS_DELIVERED_AFTER_BOTH_WERE_RESTORED
			assert(!(iRolledBack && rRolledBack && echoed));
#endif
			delivered[i] = true }
		:: nonce = 0	/* crash: the early data is lost, and its sender's to send again */
		fi;
#ifdef BUG_SEEN_WRITTEN_AFTER_DELIVERY
		if
		:: atomic { seen = epoch[i]; restored = false }
		:: nonce = 0	/* crash */
		fi;
#endif
		atomic { i = 0; echoed = false };
idle:		skip
	:: atomic { nonce != 0 -> nonce = 0 }	/* crash, or its life is over */
	:: atomic { restores < RESTORES ->
		restores++; restored = true; rRolledBack = true; nonce = 0;
		select(i : 0 .. seen);
		seen = i; i = 0 }
	:: inits == INITS -> break
	od
}
