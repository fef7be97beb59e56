package e2e

import "errors"

var (
	// ErrUnauthentic is what every record gets that does not prove to come from the peer, whatever is wrong with it:
	// the reasons are counted in [Stats] and nowhere else. Drop the record and answer nothing.
	ErrUnauthentic = errors.New("e2e: record is not authentic")

	// ErrReplay means that an authentic record was received before (or, in a session, an older one than the newest).
	// Drop it and acknowledge it to the broker, which delivers at least once.
	ErrReplay = errors.New("e2e: record was received before")

	// ErrStaleEpoch means that an INIT's epoch is not above the highest seen of that peer in this binding: a replay, or
	// a peer that lost its state. Drop the record; [ChallengeError] has the question to the peer. [Epochs] implementations return it.
	ErrStaleEpoch = errors.New("e2e: epoch is not newer than the last")

	// ErrEchoRequired means that our own epochs were restored from a backup, so that an INIT must answer a CHALLENGE of
	// ours before it is accepted. See [ChallengeError] and [RestorableEpochs].
	ErrEchoRequired = errors.New("e2e: epochs were restored, INIT has to echo a challenge")

	// ErrChallenged means that the platform could not tell whether a request was new. The exchange is over; begin the request anew, it
	// will be heard then.
	ErrChallenged = errors.New("e2e: request was challenged, begin it anew")

	// ErrNoPrekey means early data where Config.RequirePrekey wants a prekey and none is valid. Initiate without early data.
	ErrNoPrekey = errors.New("e2e: no prekey for early data, initiate without")

	// ErrPrekeyRequired and ErrUnknownPrekey mean early data that is not accepted, because it came without a prekey or under one that is
	// erased. [Prekeys] implementations return ErrUnknownPrekey. See [ChallengeError].
	ErrPrekeyRequired = errors.New("e2e: early data came without a prekey")
	ErrUnknownPrekey  = errors.New("e2e: prekey is not known or was erased")

	// ErrEpochJump means that an epoch lies more than 2^32 above the highest seen: the peer's epoch store is broken, and
	// accepting it could use the sequence up. Commission the pair again.
	ErrEpochJump = errors.New("e2e: epoch jumps by more than 2^32")

	// ErrExpired means that an authentic record belongs to a session that is past its age. It is not delivered; the peer has
	// to start a new session.
	ErrExpired = errors.New("e2e: session is past its age")

	// ErrNoSession means that there is no session to seal with. Call [Peer.Initiate] and wait for KindEstablished.
	ErrNoSession = errors.New("e2e: no session, initiate one")

	// ErrRenewRequired means that the session reached its age or number of messages. Call [Peer.Initiate] and seal again after
	// KindEstablished.
	ErrRenewRequired = errors.New("e2e: session reached its limit, initiate a new one")

	// ErrTooLarge means that a payload exceeds [MaxPayload]. Split it.
	ErrTooLarge = errors.New("e2e: payload is too large")

	// ErrWrongUse means a session call on a binding with a platform, which knows one-shot exchanges only, or the other
	// way round, or a second use of what can be used once.
	ErrWrongUse = errors.New("e2e: call does not fit this binding or was made before")

	// ErrNotApproved means a suite that GODEBUG=fips140=only forbids.
	ErrNotApproved = errors.New("e2e: AES-GCM with counted nonces is not allowed in FIPS 140-only mode")

	// ErrWiped means that [Peer.Wipe] was called.
	ErrWiped = errors.New("e2e: peer was wiped")
)
