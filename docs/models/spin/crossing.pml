/* Crossing INITs, renewal, crashes: once the adversary rests, both sides have the same session again, within ROUNDS minutes.

   Sides 0 (A) and 1 (B) start sessions when they like. In the storm the network delivers any record that was ever sent to its side, again
   and again or never, sides crash (sessions live in RAM only), and A's precedence runs out at any moment. Then comes the rest: records
   arrive once and in order, and each side does what its gateway does: what is not confirmed is sent again, and started anew after a
   minute. The counters within a session are in counters.pml, the numbers that survive a crash in epochs.pml.

   Compile with -DBUG_… to plant a bug, and with -DWITNESS_… to see that a situation is reached at all: either must make an assertion
   fail. ./check runs them all. */

#ifndef STORM
#define STORM 3			/* INITs in the storm */
#endif
#define ROUNDS 4
#define INITS (STORM + 2 * ROUNDS)
#define NONE 255
#define A 0

mtype = { INIT, RESP, DATA };
chan to[2] = [6] of { mtype, byte };	/* the network at rest */

/* INIT k is from owner[k]; its epoch is above those of its owner's INITs with a lower k. RESP r answers INIT answered[r], and names the
   session as well. DATA of session s by side i was sent: data[2*s+i]. */
byte inits, resps;
bit owner[INITS];
byte answered[INITS];
bool data[2 * INITS];
bool crashed, rest;
byte round;

typedef Side {
	byte seen;		/* durable: 1 + the highest INIT taken */
	byte pending;		/* our INIT that waits for its RESP */
	bool precedence;	/* of A: its minute is not over */
	byte current, previous, unconfirmed, last;	/* sessions; INIT that unconfirmed answers */
	bool currentIsNewer;	/* than unconfirmed */
	bool young;		/* current is of this minute */
	bool heard;		/* DATA of the other side in current, since the rest began */
}
Side side[2];

inline publish(i, t, id) {
	if
	:: rest -> to[1 - i]!t(id)
	:: else
	fi
}

inline seal(i) {
	data[2 * side[i].current + i] = true;
	/* Whoever seals seals for keys that the other side has, but for a crash, and for a side that starts over before it heard of its
	   first INIT: what is lost then is the delivery layer's to send again. */
	assert(crashed || inits > 2 || (inits == 2 && owner[0] == owner[1]) || side[i].current == side[1 - i].current
		|| side[i].current == side[1 - i].previous || side[i].current == side[1 - i].unconfirmed);
	publish(i, DATA, side[i].current)
}

inline takeOver(i, s) {
	side[i].previous = side[i].current; side[i].current = s; side[i].heard = false;
	side[i].currentIsNewer = true; side[i].young = true
}

inline initiate(i) {
	owner[inits] = i; side[i].pending = inits; side[i].precedence = true;
	publish(i, INIT, inits);
	inits++
}

/* precedence is counted from the first INIT without success: a second one does not prolong it */
inline initiateAgain(i) {
	owner[inits] = i; side[i].pending = inits;
	publish(i, INIT, inits);
	inits++
}

inline receiveInit(i, k) {
	if
	:: side[i].unconfirmed != NONE && side[i].last == k -> publish(i, RESP, side[i].unconfirmed)	/* repeated */
	:: else ->
		if
		:: k < side[i].seen			/* stale */
#ifdef DEAF
		:: rest && i != A	/* for whatever reason: nothing of A's is taken */
#endif
#ifdef BUG_NOBODY_YIELDS
		:: k >= side[i].seen && side[i].pending != NONE && side[i].precedence -> side[i].seen = k + 1
#elif defined(BUG_BOTH_YIELD)
#else
		:: k >= side[i].seen && i == A && side[i].pending != NONE && side[i].precedence -> side[i].seen = k + 1
#endif
		:: else ->
			side[i].seen = k + 1;
			side[i].unconfirmed = resps; side[i].last = k; side[i].currentIsNewer = false;
			side[i].pending = NONE;
			answered[resps] = k;
			resps++;
#ifdef BUG_SWITCH_AT_RESP
			takeOver(i, side[i].unconfirmed);
#endif
			publish(i, RESP, resps - 1)
		fi
	fi
}

inline receiveResp(i, r) {
	if
	:: side[i].pending == answered[r] && side[i].pending != NONE ->
		side[i].pending = NONE;
		takeOver(i, r);
		seal(i)
	:: else
	fi
}

inline receiveData(i, s) {
	if
	:: s == side[i].unconfirmed && (side[i].current == NONE || !side[i].currentIsNewer) ->
		takeOver(i, s);
		side[i].unconfirmed = NONE
	:: else
	fi;
	if
	:: s == side[i].current -> side[i].heard = rest
	:: else
	fi
}

inline crash(i) {
	crashed = true;
	side[i].pending = NONE; side[i].precedence = false;
	side[i].current = NONE; side[i].previous = NONE; side[i].unconfirmed = NONE; side[i].last = NONE;
	side[i].currentIsNewer = false; side[i].heard = false; side[i].young = false
}

/* what a gateway does every minute */
inline tick(i) {
	if
	:: side[i].current != NONE -> seal(i)
	:: else
	fi;
	if
	:: side[i].heard || side[i].young
	:: else ->
		if
		:: side[i].pending != NONE && round == 1 -> publish(i, INIT, side[i].pending)
		:: side[i].pending != NONE && round > 1 -> initiateAgain(i)
		:: else -> initiate(i)
		fi
	fi;
	side[i].young = false
}

init {
	byte k;
	bit i;
	bool ticked[2];
	mtype t;
	atomic { crash(0); crash(1); crashed = false };
	do
	:: atomic { inits < STORM ->
		if
		:: i = 0
		:: i = 1
		fi;
		if
		:: side[i].pending == NONE -> initiate(i)
		:: else -> initiateAgain(i)
		fi;
		i = 0 }
	:: atomic { inits > 0 -> select(k : 0 .. inits - 1); i = 1 - owner[k];
		if
		:: resps < INITS -> receiveInit(i, k)
		:: else
		fi;
		k = 0; i = 0 }
	:: atomic { resps > 0 -> select(k : 0 .. resps - 1); i = owner[answered[k]]; receiveResp(i, k); k = 0; i = 0 }
	:: atomic { resps > 0 -> select(k : 0 .. resps - 1);
		if
		:: i = 0
		:: i = 1
		fi;
		if
		:: data[2 * k + 1 - i] -> receiveData(i, k)
		:: else
		fi;
		k = 0; i = 0 }
	:: atomic { side[0].current != NONE -> seal(0) }
	:: atomic { side[1].current != NONE -> seal(1) }
	:: atomic { crash(0) }
	:: atomic { crash(1) }
	:: atomic { side[A].precedence -> side[A].precedence = false }
	:: atomic { rest = true; break }
	od;
	do
	:: atomic { empty(to[0]) && empty(to[1]) && (round == 0 || (ticked[0] && ticked[1])) ->
#ifdef WITNESS_SESSION_LOST_IN_THE_STORM
		assert(!(round == 2 && side[0].current != side[1].current));
#endif
		if
		:: side[0].heard && side[1].heard && side[0].current == side[1].current -> break
		:: else
		fi;
		assert(round < ROUNDS);		/* else it has not come back */
		if
#ifndef BUG_PRECEDENCE_FOR_EVER
		:: round > 0 -> side[0].precedence = false; side[1].precedence = false
#endif
		:: else
		fi;
		round++; ticked[0] = false; ticked[1] = false }
	:: atomic { round > 0 && !ticked[0] -> ticked[0] = true; tick(0) }
	:: atomic { round > 0 && !ticked[1] -> ticked[1] = true; tick(1) }
	:: atomic { nempty(to[0]) -> to[0]?t(k);
		if
		:: t == INIT -> receiveInit(0, k)
		:: t == RESP -> receiveResp(0, k)
		:: t == DATA -> receiveData(0, k)
		fi;
		k = 0; t = 0 }
	:: atomic { nempty(to[1]) -> to[1]?t(k);
		if
		:: t == INIT -> receiveInit(1, k)
		:: t == RESP -> receiveResp(1, k)
		:: t == DATA -> receiveData(1, k)
		fi;
		k = 0; t = 0 }
	od
}
