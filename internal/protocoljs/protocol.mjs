// One party of docs/protocol.md: records, key schedule and the order of checks, with the keys given instead of drawn.
import { timingSafeEqual } from 'node:crypto';
import { decapsulate, encapsulate, isEncapsulationKey } from './mlkem.mjs';
import { H, LP, cat, expand, extract, hmac, open, seal, u16, u32, u64, u8 } from './primitives.mjs';

export const DATA = 0, INIT = 1, RESP = 2, CLOSE = 3, CHALLENGE = 4;
const label = (s) => `semio-e2e/1 ${s}`;
const mayFlag = { [DATA]: 0x03, [INIT]: 0x3d, [RESP]: 0x31, [CLOSE]: 0x01, [CHALLENGE]: 0x31 };
const offerBit = (suite) => (suite >= 1 && suite <= 4 ? 1 << (suite - 1) : 0);
const hasKEM = (suite) => suite === 3 || suite === 4;
const pointSize = [33, 32]; // by profile: a point or a nonce
const maxCounter = 2 ** 20, maxPayload = 2 ** 20, maxJump = 2n ** 32n, maxAhead = 16, windowWidth = 64;

/** The suite in INIT's header follows from the offer. */
export const initSuite = (offered) => [1, 3, 2, 4].find((s) => offered & offerBit(s));

/** A record that a party refuses; the message is the error of section 8, the reason is for whoever debugs. */
export class Refused extends Error {
  constructor(error, reason) {
    super(error);
    this.reason = reason;
  }
}
const must = (ok, reason, error = 'unauthentic') => {
  if (!ok) throw new Refused(error, reason);
};

function header(type, suite, flags, rest, counter) {
  return cat(u8(0x10 | type), u8(suite), u8(flags), u8((counter >>> 16) & 0xff), rest, u32(counter));
}

// Section 3, step 1 of each order of checks: what stands wrong whoever looks at it.
function parse(record) {
  must(record.length >= 16, 'shorter than a header');
  const r = {
    type: record[0] & 0x0f, suite: record[1], flags: record[2], generation: record[3], header: record.subarray(0, 16), id: record.subarray(4, 12),
    counter: record.readUInt32BE(12), profile: (record[2] >> 4) & 3, fromB: (record[2] & 1) === 1,
  };
  must(record[0] >> 4 === 1, 'version');
  must(r.type in mayFlag, 'type');
  must((r.flags & ~mayFlag[r.type]) === 0, 'flags');
  must(r.profile <= 1, 'profile');
  if (r.type === DATA || r.type === CLOSE) {
    must(r.generation === ((r.counter >>> 16) & 0xff), 'generation');
    must(record.length >= 32, 'no room for a tag');
    must(record.length <= 32 + maxPayload, 'too large');
    must(r.counter <= maxCounter, 'counter above 2^20');
    must(r.type !== CLOSE || record.length === 33, 'CLOSE holds one byte');
    return { ...r, sealed: record.subarray(16) };
  }
  must(r.generation === 0 && r.counter === 0, 'generation and counter');
  return r;
}

function parseInit(record) {
  const r = parse(record);
  must(record.length >= 26, 'too short for its offers');
  r.epoch = record.readBigUInt64BE(16);
  r.offered = record.readUInt16BE(24);
  must(r.epoch >= 1n, 'epoch 0');
  must((r.offered & ~0x0f) === 0, 'unknown offers');
  must(r.suite === initSuite(r.offered), 'suite does not follow from the offers');
  let at = 26;
  const take = (n) => {
    must(record.length >= at + n, 'too short');
    return record.subarray(at, at += n);
  };
  r.echo = r.flags & 4 ? take(16) : null;
  must(!(r.flags & 8) || r.profile === 0, 'a prekey in the static profile');
  r.prekey = r.flags & 8 ? take(4).readUInt32BE(0) : 0;
  must(!(r.flags & 8) || r.prekey >= 1, 'prekey 0');
  r.share = take(pointSize[r.profile]);
  r.kem = r.offered & 0x0c ? take(1184) : null;
  r.clear = record.subarray(0, at);
  must(record.length >= at + 4 + 16 + 16, 'no room for capabilities, tag and mac1');
  must(record.length <= at + 36 + maxPayload, 'too large');
  r.sealed = record.subarray(at, -16);
  r.mac1 = record.subarray(-16);
  r.record = record;
  return r;
}

function parseResp(record) {
  const r = parse(record);
  const share = 16 + pointSize[r.profile], at = share + (hasKEM(r.suite) ? 1088 : 0);
  must(record.length >= at + 20 && record.length <= at + 20 + maxPayload, 'length');
  return {
    ...r, share: record.subarray(16, share), kem: record.subarray(share, at), clear: record.subarray(0, at), sealed: record.subarray(at),
  };
}

function parseChallenge(record) {
  const r = parse(record);
  must(record.length === 72, 'length');
  return {
    ...r, digest: record.subarray(16, 32), nonce: record.subarray(32, 48), highest: record.readBigUInt64BE(48), macked: record.subarray(0, 56),
    mac: record.subarray(56),
  };
}

/** What both parties know: the binding, and who they are. a and b: { role, name, certificateHash, point }. */
export class Binding {
  constructor({ profile, pskRequired, id, psk, a, b }) {
    Object.assign(this, { profile, psk });
    const party = (p) => cat(LP(p.role), LP(p.name), LP(p.certificateHash), LP(p.point));
    this.th0 = H(label('th0'), u8(profile), u8(pskRequired ? 1 : 0), LP(id), party(a), party(b));
    this.hint = H(label('hint'), this.th0).subarray(0, 8);
    this.withPlatform = b.role === 'P';
  }
}

/**
 * One party. side: 'A' or 'B'; key: its agreement Key; peer: the other's point; suites: those of its own, in the order of preference; windowed:
 * its choice of section 6.4; seen and restored: what it has kept of section 2; prekeys: an application's, by number.
 */
export class Party {
  constructor({ binding, side, key, peer, suites, windowed = false, seen = 0n, restored = false, prekeys }) {
    Object.assign(this, { binding, side, key, peer, suites, windowed, seen, restored, prekeys });
    this.flags = (side === 'B' ? 1 : 0) | (binding.profile << 4);
    this.mk = extract(binding.th0, cat(key.shared(peer), binding.psk));
    this.mac1k = expand(this.mk, label('mac1'), 32);
    this.chalk = expand(this.mk, label('chal'), 32);
  }

  get #static() { return this.binding.profile === 1; }

  // Under a prekey: the two agreements with P go into ck1, which K1 is then made of.
  #chain1(h, prekey, e, s) {
    h.k1from = prekey ? (h.ck1WithPrekey = extract(h.ck1, cat(e, s))) : h.ck1;
    h.k1 = expand(h.k1from, cat(label('m1'), h.th1), 76);
  }

  /**
   * Sends INIT. share: an ephemeral Key, or { point: nonce } in the static profile; kem: a key pair of mlkem.mjs where a suite wants one;
   * prekey: { number, point }.
   */
  initiate({ share, kem, echo, prekey, epoch, suites, capabilities, payload }) {
    const offered = suites.reduce((sum, s) => sum + offerBit(s), 0), suite = initSuite(offered);
    const clear = cat(header(INIT, suite, this.flags | (echo ? 4 : 0) | (prekey ? 8 : 0), this.binding.hint, 0), u64(epoch), u16(offered), echo ?? '',
      prekey ? u32(prekey.number) : '', share.point, offered & 0x0c ? kem.ek : '');
    const h = { share, kem, offered, suite };
    h.th1 = H(this.binding.th0, clear);
    h.ck1 = extract(this.mk, this.#static ? share.point : share.shared(this.peer));
    this.#chain1(h, prekey, prekey && share.shared(prekey.point), prekey && this.key.shared(prekey.point));
    h.ct1 = seal(suite, h.k1, clear.subarray(0, 16), 0, cat(u32(capabilities), payload));
    const macked = cat(clear, h.ct1);
    h.record = cat(macked, hmac(this.mac1k, macked).subarray(0, 16));
    this.outstanding = h;
    return h.record;
  }

  /** Takes one record, in the order of checks of section 6 or 7. Returns { type, payload }. */
  receive(record) {
    must(record.length > 0, 'empty');
    switch (record[0] & 0x0f) {
      case INIT: return this.#receiveInit(parseInit(record));
      case RESP: return this.#receiveResp(parseResp(record));
      case CHALLENGE: return this.#receiveChallenge(parseChallenge(record));
      default: return this.#receiveData(parse(record));
    }
  }

  #checkHandshake(r) {
    must(r.fromB === (this.side === 'A'), 'own direction');
    must(r.id.equals(this.binding.hint), 'hint');
    must(r.profile === this.binding.profile, 'profile');
  }

  #open(r, keys) {
    const p = open(r.suite, keys, r.header, 0, r.sealed);
    must(p !== null, 'tag');
    return { type: r.type, capabilities: p.readUInt32BE(0), payload: p.subarray(4) };
  }

  #shared(key, point) {
    try {
      return key.shared(point);
    } catch {
      throw new Refused('unauthentic', 'point');
    }
  }

  // nonce: what a CHALLENGE would hold, as it cannot be drawn here.
  #challenge(r, error) {
    const suite = r.suite, digest = H(r.record).subarray(0, 16);
    throw Object.assign(new Refused(error, 'epoch'), {
      challenge: (nonce) => {
        const macked = cat(header(CHALLENGE, suite, this.flags, this.binding.hint, 0), digest, nonce, u64(this.seen));
        this.nonce = nonce;
        return cat(macked, hmac(this.chalk, macked).subarray(0, 16));
      },
    });
  }

  #receiveInit(r) {
    this.#checkHandshake(r);
    must(!this.binding.withPlatform || this.side === 'B', 'a platform does not initiate');
    must(timingSafeEqual(hmac(this.mac1k, r.record.subarray(0, -16)).subarray(0, 16), r.mac1), 'mac1');
    const suite = this.suites.find((s) => r.offered & offerBit(s));
    must(suite, 'no suite in common');
    const alive = r.echo !== null && this.nonce !== undefined && timingSafeEqual(r.echo, this.nonce);
    if (this.restored && !alive) this.#challenge(r, 'echo required');
    if (r.epoch <= this.seen) this.#challenge(r, 'stale epoch');
    must(r.epoch - this.seen <= maxJump, 'epoch', 'epoch jump');
    if (r.prekey) {
      must(this.prekeys, 'no prekeys here');
      if (!this.prekeys.has(r.prekey)) this.#challenge(r, 'unknown prekey');
    }
    const prekey = r.prekey && this.prekeys.get(r.prekey);
    const h = { init: r, suite };
    h.th1 = H(this.binding.th0, r.clear);
    h.ck1 = extract(this.mk, this.#static ? r.share : this.#shared(this.key, r.share));
    this.#chain1(h, prekey, prekey && this.#shared(prekey, r.share), prekey && prekey.shared(this.peer));
    const opened = this.#open(r, h.k1);
    must(!hasKEM(suite) || isEncapsulationKey(r.kem), 'encapsulation key');
    h.ct1 = r.sealed;
    this.seen = r.epoch;
    if (alive) Object.assign(this, { restored: false, nonce: undefined });
    this.answering = h;
    return opened;
  }

  /** Answers the INIT that receive has just taken. random: the 32 bytes that ML-KEM encapsulates. */
  respond({ share, random, capabilities, payload }) {
    const h = this.answering, r = h.init;
    const kem = hasKEM(h.suite) ? encapsulate(r.kem, random) : null;
    const clear = cat(header(RESP, h.suite, this.flags, this.binding.hint, 0), share.point, kem ? kem.ciphertext : '');
    this.#mix(h, clear, kem?.shared, share.point, () => [this.#shared(share, r.share), this.#shared(share, this.peer)]);
    h.ct2 = seal(h.suite, h.k2, clear.subarray(0, 16), 0, cat(u32(capabilities), payload));
    this.#establish(h);
    return cat(clear, h.ct2);
  }

  #receiveResp(r) {
    this.#checkHandshake(r);
    must(this.outstanding, 'no INIT outstanding');
    must((this.outstanding.offered & offerBit(r.suite)) !== 0, 'suite not offered');
    const h = { ...this.outstanding, suite: r.suite };
    const shared = hasKEM(r.suite) ? decapsulate(h.kem, r.kem) : undefined;
    this.#mix(h, r.clear, shared, r.share, () => [this.#shared(h.share, r.share), this.#shared(this.key, r.share)]);
    const opened = this.#open(r, h.k2);
    h.ct2 = r.sealed;
    this.#establish(h);
    this.outstanding = null;
    return opened;
  }

  // agreements: ECDH(e_I, e_R) and ECDH(e_R, S_I), where the profile has them.
  #mix(h, clear, shared, nonce, agreements) {
    h.shared = shared;
    const ss = shared ?? Buffer.alloc(0);
    h.th2 = H(h.th1, u32(h.ct1.length), h.ct1, clear);
    if (this.#static) {
      h.ck3 = extract(h.k1from, cat(nonce, ss));
    } else {
      const [ee, es] = agreements();
      h.ck2 = extract(h.k1from, cat(ee, ss));
      h.ck3 = extract(h.ck2, es);
    }
    h.k2 = expand(h.ck3, cat(label('m2'), h.th2), 76);
  }

  #establish(h) {
    h.th3 = H(h.th2, h.ct2);
    h.sid = expand(h.ck3, cat(label('sid'), h.th3), 8);
    h.g0 = { A: expand(h.ck3, cat(label('dir A>B'), h.th3), 32), B: expand(h.ck3, cat(label('dir B>A'), h.th3), 32) };
    h.exporter = expand(h.ck3, cat(label('exporter'), h.th3), 32);
    this.session = { ...h, highest: -1, received: new Set(), generation: 0, kept: 0 };
  }

  exported(name, n) { return expand(this.session.exporter, cat(label('exported'), H(name)), n); }

  #receiveChallenge(r) {
    this.#checkHandshake(r);
    const h = this.outstanding;
    must(h && H(h.record).subarray(0, 16).equals(r.digest), 'not for the outstanding INIT');
    must(r.suite === h.suite, 'suite');
    must(timingSafeEqual(hmac(this.chalk, r.macked).subarray(0, 16), r.mac), 'mac');
    return { type: CHALLENGE, payload: r.nonce, highest: r.highest };
  }

  #keys(from, generation) {
    let g = this.session.g0[from];
    for (let i = 0; i < generation; i++) g = expand(g, label('ratchet'), 32);
    return expand(g, label('keys'), 76);
  }

  /** Seals DATA or CLOSE under a given counter. */
  seal({ type, flags, counter, plaintext }) {
    const s = this.session;
    const h = header(type, s.suite, flags | (this.flags & 1), s.sid, counter);
    return cat(h, seal(s.suite, this.#keys(this.side, counter >>> 16), h, counter, plaintext));
  }

  #receiveData(r) {
    must(r.fromB === (this.side === 'A'), 'own direction');
    const s = this.session;
    must(s && r.id.equals(s.sid), 'no such session');
    must(r.suite === s.suite, 'suite');
    const generation = r.counter >>> 16;
    must(generation >= s.kept && generation <= s.generation + maxAhead, 'generation');
    const payload = open(r.suite, this.#keys(r.fromB ? 'B' : 'A', generation), r.header, r.counter, r.sealed);
    must(payload !== null, 'tag');
    const behind = s.highest - r.counter;
    must(behind < 0 || (this.windowed && behind < windowWidth && !s.received.has(r.counter)), 'counter', 'replay');
    s.received.add(r.counter);
    s.highest = Math.max(s.highest, r.counter);
    if (generation > s.generation) {
      s.generation = generation;
      s.kept = generation - (this.windowed ? 1 : 0);
    }
    // The window does not reach into the generation before any more.
    if ((s.highest & 0xffff) >= windowWidth - 1) s.kept = s.generation;
    return { type: r.type, payload };
  }
}
