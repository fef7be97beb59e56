// One party of docs/protocol.md: records, key schedule and the order of checks, with the keys given instead of drawn.
import { H, Key, LP, cat, expand, extract, hmac, open, seal, u16, u32, u64, u8 } from './primitives.mjs';

export const DATA = 0, INIT = 1, RESP = 2, CLOSE = 3, CHALLENGE = 4;
const label = (s) => `semio-e2e/1 ${s}`;
const mayFlag = { [DATA]: 0x03, [INIT]: 0x35, [RESP]: 0x31, [CLOSE]: 0x01, [CHALLENGE]: 0x31 };
const offerBit = (suite) => 1 << (suite - 1);
const maxCounter = 2 ** 20, maxPayload = 2 ** 20, maxJump = 2n ** 32n, maxAhead = 16;

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
  must(r.suite >= 1 && r.suite <= 4 && (r.offered & offerBit(r.suite)) !== 0, 'suite not among the offers');
  let at = 26;
  const take = (n) => {
    must(record.length >= at + n, 'too short');
    return record.subarray(at, at += n);
  };
  r.echo = r.flags & 4 ? take(16) : null;
  r.point = take(33);
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
  const at = 16 + 33 + (r.suite === 3 || r.suite === 4 ? 1088 : 0);
  must(record.length >= at + 20 && record.length <= at + 20 + maxPayload, 'length');
  return { ...r, point: record.subarray(16, 49), kem: record.subarray(49, at), clear: record.subarray(0, at), sealed: record.subarray(at) };
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

/** One party. side: 'A' or 'B'; key: its agreement Key; peer: the other's point. */
export class Party {
  constructor({ binding, side, key, peer, suites = 1 }) {
    Object.assign(this, { binding, side, key, peer, suites });
    this.flag = side === 'B' ? 1 : 0;
    this.seen = 0n;
    this.mk = extract(binding.th0, cat(key.shared(peer), binding.psk));
    this.mac1k = expand(this.mk, label('mac1'), 32);
  }

  #openPayload(r, keys, th) {
    const p = open(r.suite, keys, th, r.header, 0, r.sealed);
    must(p !== null, 'tag');
    return p.subarray(4); // capabilities this version does not know are ignored
  }

  #sealPayload(clear, suite, keys, th, payload) {
    return seal(suite, keys, th, clear.subarray(0, 16), 0, cat(u32(0), payload));
  }

  /** Sends INIT; ephemeral and, where a suite wants one, kem (a key pair of mlkem.mjs) are given. */
  initiate({ ephemeral, kem, epoch, offered, suite, payload }) {
    const clear = cat(header(INIT, suite, this.flag | (this.binding.profile << 4), this.binding.hint, 0), u64(epoch), u16(offered), ephemeral.point,
      kem ? kem.ek : '');
    const h = { initiator: true, ephemeral, kem, offered };
    h.th1 = H(this.binding.th0, clear);
    h.ck1 = extract(this.mk, ephemeral.shared(this.peer));
    h.k1 = expand(h.ck1, cat(label('m1'), h.th1), 76);
    h.ct1 = this.#sealPayload(clear, suite, h.k1, h.th1, payload);
    this.outstanding = h;
    const record = cat(clear, h.ct1);
    return cat(record, hmac(this.mac1k, record).subarray(0, 16));
  }

  /** Takes one record, in the order of checks of section 6 or 7. Returns { type, payload }. */
  receive(record) {
    must(record.length > 0, 'empty');
    switch (record[0] & 0x0f) {
      case INIT: return this.#receiveInit(parseInit(record));
      case RESP: return this.#receiveResp(parseResp(record));
      case DATA: case CLOSE: return this.#receiveData(parse(record));
      default: throw new Refused('unauthentic', 'type');
    }
  }

  #checkHandshake(r) {
    must(r.fromB === (this.side === 'A'), 'own direction');
    must(r.id.equals(this.binding.hint), 'hint');
    must(r.profile === this.binding.profile, 'profile');
  }

  #receiveInit(r) {
    this.#checkHandshake(r);
    must(!this.binding.withPlatform || this.side === 'B', 'a platform does not initiate');
    must(hmac(this.mac1k, r.record.subarray(0, -16)).subarray(0, 16).equals(r.mac1), 'mac1');
    must((this.suites & offerBit(r.suite)) !== 0, 'suite not configured');
    must(r.echo === null, 'echo');
    must(r.epoch > this.seen, 'epoch', 'stale epoch');
    must(r.epoch - this.seen <= maxJump, 'epoch', 'epoch jump');
    const h = { initiator: false, init: r };
    h.th1 = H(this.binding.th0, r.clear);
    h.ck1 = extract(this.mk, this.#shared(this.key, r.point));
    h.k1 = expand(h.ck1, cat(label('m1'), h.th1), 76);
    const payload = this.#openPayload(r, h.k1, h.th1);
    h.ct1 = r.sealed;
    this.seen = r.epoch;
    this.answering = h;
    return { type: INIT, payload };
  }

  #shared(key, point) {
    try {
      return key.shared(point);
    } catch {
      throw new Refused('unauthentic', 'point');
    }
  }

  /** Answers the INIT that receive has just taken. */
  respond({ ephemeral, suite, payload }) {
    const h = this.answering;
    const clear = cat(header(RESP, suite, this.flag | (this.binding.profile << 4), this.binding.hint, 0), ephemeral.point);
    this.#mix(h, suite, clear, this.#shared(ephemeral, h.init.point), this.#shared(ephemeral, this.peer));
    h.ct2 = this.#sealPayload(clear, suite, h.k2, h.th2, payload);
    this.#establish(h);
    return cat(clear, h.ct2);
  }

  #receiveResp(r) {
    this.#checkHandshake(r);
    const h = this.outstanding;
    must(h, 'no INIT outstanding');
    must(r.suite >= 1 && r.suite <= 4 && (h.offered & offerBit(r.suite)) !== 0, 'suite not offered');
    const next = { ...h };
    this.#mix(next, r.suite, r.clear, this.#shared(h.ephemeral, r.point), this.#shared(this.key, r.point));
    const payload = this.#openPayload(r, next.k2, next.th2);
    next.ct2 = r.sealed;
    this.#establish(next);
    this.outstanding = null;
    return { type: RESP, payload };
  }

  #mix(h, suite, clear, ee, es) {
    h.suite = suite;
    h.th2 = H(h.th1, u32(h.ct1.length), h.ct1, clear);
    h.ck2 = extract(h.ck1, ee);
    h.ck3 = extract(h.ck2, es);
    h.k2 = expand(h.ck3, cat(label('m2'), h.th2), 76);
  }

  #establish(h) {
    h.th3 = H(h.th2, h.ct2);
    h.sid = expand(h.ck3, cat(label('sid'), h.th3), 8);
    h.g0 = { A: expand(h.ck3, cat(label('dir A>B'), h.th3), 32), B: expand(h.ck3, cat(label('dir B>A'), h.th3), 32) };
    this.session = { ...h, highest: -1, generation: 0 };
  }

  #keys(from, generation) {
    let g = this.session.g0[from];
    for (let i = 0; i < generation; i++) g = expand(g, label('ratchet'), 32);
    return expand(g, label('keys'), 76);
  }

  /** Seals DATA or CLOSE under a given counter. */
  seal({ type, flags, counter, plaintext }) {
    const s = this.session;
    const h = header(type, s.suite, flags | this.flag, s.sid, counter);
    return cat(h, seal(s.suite, this.#keys(this.side, counter >>> 16), s.th3, h, counter, plaintext));
  }

  #receiveData(r) {
    must(r.fromB === (this.side === 'A'), 'own direction');
    const s = this.session;
    must(s && r.id.equals(s.sid), 'no such session');
    must(r.suite === s.suite, 'suite');
    const generation = r.counter >>> 16;
    must(generation >= s.generation && generation <= s.generation + maxAhead, 'generation');
    const payload = open(r.suite, this.#keys(r.fromB ? 'B' : 'A', generation), s.th3, r.header, r.counter, r.sealed);
    must(payload !== null, 'tag');
    must(r.counter > s.highest, 'counter', 'replay');
    Object.assign(s, { highest: r.counter, generation });
    return { type: r.type, payload };
  }
}
