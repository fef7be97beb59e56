#!/usr/bin/env node
// A second reader of the protocol, written from docs/protocol.md and nothing else: it replays the exchanges of the vectors from both sides,
// compares every intermediate value and record, decrypts every record, and refuses what must be refused.
//
//	node internal/protocoljs/verify.mjs [e2e/testdata/protocol-v1.json]
//
// It exits with 1 when something differs, and when a vector holds a value that it does not know, so that no value goes unread.
import { readFileSync } from 'node:fs';
import { keyPair } from './mlkem.mjs';
import { Key, LP, cat, u32, u64, u8 } from './primitives.mjs';
import { Binding, CHALLENGE, DATA, INIT, Party, RESP, Refused } from './protocol.mjs';

const path = process.argv[2] ?? new URL('../../e2e/testdata/protocol-v1.json', import.meta.url);
const hex = (s) => Buffer.from(s, 'hex');

// Reads a vector's members by name; those nobody asked for are an error.
class Fields {
  #values;
  #read = new Set();
  constructor(values) { this.#values = values; }
  get(name, fallback) {
    this.#read.add(name);
    if (!(name in this.#values) && fallback === undefined) throw new Error(`no ${name}`);
    return this.#values[name] ?? fallback;
  }
  hex(name) { return hex(this.get(name, '')); }
  is(name, got) {
    const want = this.get(name);
    got ??= Buffer.alloc(0); // what this exchange does not have
    if (got.toString('hex') !== want) throw new Error(`${name}: got ${got.toString('hex')}, want ${want}`);
  }
  done() {
    const unread = Object.keys(this.#values).filter((k) => !this.#read.has(k));
    if (unread.length) throw new Error(`values not read: ${unread.join(', ')}`);
  }
}

const offers = (bits) => [1, 2, 3, 4].filter((suite) => bits & (1 << (suite - 1)));

// The two parties of an exchange, with nothing said yet. change: what the responder has of its own.
function world(v, change = {}) {
  const party = (name) => {
    const f = new Fields(v.get(name));
    const key = new Key(f.hex('agreement_private'));
    const p = { role: f.get('role'), name: f.get('id'), certificateHash: f.hex('certificate_sha256'), point: key.point };
    f.done();
    return { key, p };
  };
  const a = party('a'), b = party('b');
  const binding = new Binding({
    profile: v.get('profile'), pskRequired: v.get('psk_required'), id: v.hex('binding_id'), psk: v.hex('psk'), a: a.p, b: b.p,
  });
  const initiator = v.get('initiator');
  const number = v.get('prekey_number', 0);
  if (number) change = { ...change, prekeys: new Map([[number, new Key(v.hex('prekey_private'))]]) };
  const suites = (side) => (side === initiator ? offers(v.get('offered_suites')) : [v.get('suite')]);
  const sides = {
    A: new Party({ binding, side: 'A', key: a.key, peer: b.key.point, suites: suites('A'), ...(initiator === 'B' ? change : {}) }),
    B: new Party({ binding, side: 'B', key: b.key, peer: a.key.point, suites: suites('B'), ...(initiator === 'A' ? change : {}) }),
  };
  return { binding, sides, initiator: sides[initiator], responder: sides[initiator === 'A' ? 'B' : 'A'] };
}

// An ephemeral key, or in the static profile a nonce.
const share = (v, side) => (v.get('profile') === 1 ? { point: v.hex(`nonce_${side}`) } : new Key(v.hex(`ephemeral_private_${side}`)));
const unused = (v) => v.get('profile') === 1 && ['initiator', 'responder'].forEach((side) => v.get(`ephemeral_private_${side}`));

function initiate(w, v) {
  const seed = v.hex('mlkem_seed_initiator'), echo = v.hex('echo'), number = v.get('prekey_number', 0);
  return w.initiator.initiate({
    share: share(v, 'initiator'), kem: seed.length ? keyPair(seed) : null, echo: echo.length ? echo : null,
    prekey: number ? { number, point: new Key(v.hex('prekey_private')).point } : null, epoch: v.get('epoch'),
    suites: offers(v.get('offered_suites')), capabilities: v.get('capabilities_initiator', 0), payload: v.hex('init_payload'),
  });
}
const respond = (w, v) => w.responder.respond({
  share: share(v, 'responder'), random: v.hex('mlkem_random_responder'), capabilities: v.get('capabilities_responder', 0), payload: v.hex('resp_payload'),
});
const expect = (got, type, payload, capabilities) => {
  if (got.type !== type || !got.payload.equals(payload) || got.capabilities !== capabilities) {
    throw new Error(`decrypted to type ${got.type}, ${got.payload.toString('hex')}, capabilities ${got.capabilities}`);
  }
};

function positive(vector) {
  const v = new Fields(vector);
  v.get('name');
  unused(v);
  const w = world(v);
  v.is('init', initiate(w, v));
  expect(w.responder.receive(v.hex('init')), INIT, v.hex('init_payload'), v.get('capabilities_initiator', 0));
  v.is('resp', respond(w, v));
  expect(w.initiator.receive(v.hex('resp')), RESP, v.hex('resp_payload'), v.get('capabilities_responder', 0));

  v.is('th0', w.binding.th0);
  v.is('hint', w.binding.hint);
  for (const side of [w.initiator, w.responder]) {
    const s = side.session;
    const values = {
      mk: side.mk, mac1k: side.mac1k, th1: s.th1, ck1: s.ck1, k1: s.k1, th2: s.th2, ck2: s.ck2, ck3: s.ck3, k2: s.k2, th3: s.th3, session_id: s.sid,
      g0_a_to_b: s.g0.A, g0_b_to_a: s.g0.B, exporter: s.exporter, exported_vector_40: side.exported('vector', 40),
    };
    if (s.shared) values.mlkem_shared = s.shared;
    if (s.ck1WithPrekey) values.ck1_with_prekey = s.ck1WithPrekey;
    Object.entries(values).forEach(([name, got]) => v.is(name, got));
  }

  for (const message of v.get('messages', [])) {
    const m = new Fields(message);
    const from = m.get('from'), to = from === 'A' ? 'B' : 'A';
    m.is('record', w.sides[from].seal({ type: m.get('type'), flags: m.get('flags'), counter: m.get('counter'), plaintext: m.hex('plaintext') }));
    expect(w.sides[to].receive(m.hex('record')), m.get('type'), m.hex('plaintext'));
    m.done();
  }
  v.done();
}

function handshake(w, v) {
  w.responder.receive(initiate(w, v));
  w.initiator.receive(respond(w, v));
}

// The states of section 10.
const states = {
  new: () => {},
  initiated: (w, v) => { initiate(w, v); },
  established: (w, v) => {
    handshake(w, v);
    w.responder.receive(w.initiator.seal({ type: DATA, flags: 0, counter: 0, plaintext: Buffer.alloc(0) }));
  },
};

// Gives record to a party that must refuse it.
function refused(at, record, want) {
  try {
    at.receive(record);
  } catch (err) {
    if (!(err instanceof Refused)) throw err;
    if (err.message !== want) throw new Error(`refused as ${err.message} (${err.reason}), want ${want}`);
    return err;
  }
  throw new Error('accepted');
}

const named = (vectors, name) => new Fields(vectors.find((p) => p.name === name));

function negative(vector, vectors) {
  const n = new Fields(vector);
  n.get('name');
  const v = named(vectors, n.get('vector'));
  const w = world(v);
  states[n.get('state')](w, v);
  const { reason } = refused(w.sides[n.get('at')], n.hex('record'), n.get('error'));
  n.done();
  return reason;
}

function sequence(vector, vectors) {
  const q = new Fields(vector);
  q.get('name');
  const v = named(vectors, q.get('vector'));
  const w = world(v, { windowed: q.get('windowed') });
  handshake(w, v);
  for (const step of q.get('steps')) {
    const f = new Fields(step);
    const error = f.get('error', '');
    if (error) refused(w.responder, f.hex('record'), error);
    else expect(w.responder.receive(f.hex('record')), DATA, f.hex('plaintext'));
    f.done();
  }
  q.done();
}

// The INIT of a vector meets a responder that challenges it, and the INIT of another vector answers.
function challenged(vector, vectors) {
  const c = new Fields(vector);
  c.get('name');
  const v = named(vectors, c.get('vector')), answer = named(vectors, c.get('answer'));
  const restored = c.get('responder_was_restored');
  const w = world(v, { seen: BigInt(c.get('responder_has_seen')), restored });
  const init = initiate(w, v);
  const { challenge } = refused(w.responder, init, restored ? 'echo required' : 'stale epoch');
  c.is('chalk', w.responder.chalk);
  c.is('record', challenge(c.hex('nonce')));
  const got = w.initiator.receive(c.hex('record'));
  expect(got, CHALLENGE, c.hex('nonce'));
  if (got.highest !== BigInt(c.get('highest'))) throw new Error(`highest is ${got.highest}`);
  answer.is('init', initiate(w, answer));
  expect(w.responder.receive(answer.hex('init')), INIT, answer.hex('init_payload'), 0);
  refused(w.responder, answer.hex('init'), 'stale epoch'); // the nonce is used up, and so is the epoch
  c.done();
}

// The bundle of a prekey: its bytes, and a signature that holds.
function prekey(vector) {
  const k = new Fields(vector);
  k.get('name');
  const body = cat(u8(1), u32(k.get('number')), u64(k.get('expires')), k.hex('certificate_sha256'), new Key(k.hex('private')).point, LP(k.get('id')));
  k.is('signed_bytes', cat(Buffer.alloc(64, 0x20), 'semio/1 prekey', u8(0), body));
  const bundle = k.hex('bundle');
  if (!bundle.subarray(0, body.length).equals(body)) throw new Error('the bundle does not begin with what is signed');
  if (!new Key(k.hex('signing_private')).verify(k.hex('signed_bytes'), bundle.subarray(body.length))) throw new Error('signature');
  k.done();
}

// Each value of a vector, changed by one bit, must be noticed: a reader that compares nothing would pass everything.
function noticesChanges(vector) {
  const unnoticed = Object.entries(vector).filter(([name, value]) => {
    if (typeof value !== 'string' || !/^[0-9a-f]{2,}$/.test(value)) return false;
    if (name === 'mlkem_random_responder' && vector.suite < 3) return false; // drawn for nothing: ML-KEM was not chosen
    const changed = hex(value);
    changed[0] ^= 1;
    try {
      positive({ ...vector, [name]: changed.toString('hex') });
      return true;
    } catch {
      return false;
    }
  });
  if (unnoticed.length) throw new Error(`a changed bit goes unnoticed in ${unnoticed.map(([name]) => name).join(', ')}`);
}

const file = new Fields(JSON.parse(readFileSync(path, 'utf8')));
file.get('comment');
let passed = 0, failed = 0;
const check = (name, f) => {
  try {
    f();
    passed++;
  } catch (err) {
    failed++;
    console.error(`${name}: ${err.message}`);
  }
};
const vectors = file.get('positive');
const reasons = new Map();
for (const v of vectors) {
  check(v.name, () => positive(v));
  check(`${v.name}, each value changed`, () => noticesChanges(v));
}
for (const n of file.get('negative')) {
  check(n.name, () => {
    const reason = negative(n, vectors);
    reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
  });
}
for (const k of file.get('prekeys')) check(k.name, () => prekey(k));
for (const q of file.get('sequences')) check(q.name, () => sequence(q, vectors));
for (const c of file.get('challenges')) check(c.name, () => challenged(c, vectors));
check('the file', () => file.done());
console.log(`refused for: ${[...reasons].map(([r, n]) => `${r} (${n})`).join(', ')}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || passed < 4 ? 1 : 0;
