#!/usr/bin/env node
// A second reader of the protocol, written from docs/protocol.md and nothing else: it replays the exchanges of the vectors from both sides,
// compares every intermediate value and record, decrypts every record, and refuses what must be refused.
//
//	node internal/protocoljs/verify.mjs [e2e/testdata/protocol-v1.json]
//
// It exits with 1 when something differs, and when a vector holds a value that it does not know, so that no value goes unread.
import { readFileSync } from 'node:fs';
import { Key } from './primitives.mjs';
import { Binding, DATA, INIT, Party, RESP, Refused } from './protocol.mjs';

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
    if (got.toString('hex') !== want) throw new Error(`${name}: got ${got.toString('hex')}, want ${want}`);
  }
  done() {
    const unread = Object.keys(this.#values).filter((k) => !this.#read.has(k));
    if (unread.length) throw new Error(`values not read: ${unread.join(', ')}`);
  }
}

// The two parties of an exchange, with nothing said yet.
function world(v) {
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
  const sides = {
    A: new Party({ binding, side: 'A', key: a.key, peer: b.key.point, suites: v.get('offered_suites') }),
    B: new Party({ binding, side: 'B', key: b.key, peer: a.key.point, suites: v.get('offered_suites') }),
  };
  const initiator = v.get('initiator');
  return { binding, sides, initiator: sides[initiator], responder: sides[initiator === 'A' ? 'B' : 'A'] };
}

const initiate = (w, v) => w.initiator.initiate({
  ephemeral: new Key(v.hex('ephemeral_private_initiator')), epoch: v.get('epoch'), offered: v.get('offered_suites'), suite: v.get('suite'),
  payload: v.hex('init_payload'),
});
const respond = (w, v) => w.responder.respond({
  ephemeral: new Key(v.hex('ephemeral_private_responder')), suite: v.get('suite'), payload: v.hex('resp_payload'),
});
const expect = (got, type, payload) => {
  if (got.type !== type || !got.payload.equals(payload)) throw new Error(`decrypted to type ${got.type}, ${got.payload.toString('hex')}`);
};

function positive(vector) {
  const v = new Fields(vector);
  v.get('name');
  const w = world(v);
  v.is('init', initiate(w, v));
  expect(w.responder.receive(v.hex('init')), INIT, v.hex('init_payload'));
  v.is('resp', respond(w, v));
  expect(w.initiator.receive(v.hex('resp')), RESP, v.hex('resp_payload'));

  v.is('th0', w.binding.th0);
  v.is('hint', w.binding.hint);
  for (const side of [w.initiator, w.responder]) {
    const s = side.session;
    const values = {
      mk: side.mk, mac1k: side.mac1k, th1: s.th1, ck1: s.ck1, k1: s.k1, th2: s.th2, ck2: s.ck2, ck3: s.ck3, k2: s.k2, th3: s.th3, session_id: s.sid,
      g0_a_to_b: s.g0.A, g0_b_to_a: s.g0.B,
    };
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

// The states of section 10: nothing said; INIT sent; the whole handshake and the initiator's first DATA received.
const states = {
  new: () => {},
  initiated: (w, v) => { initiate(w, v); },
  established: (w, v) => {
    w.responder.receive(initiate(w, v));
    w.initiator.receive(respond(w, v));
    w.responder.receive(w.initiator.seal({ type: DATA, flags: 0, counter: 0, plaintext: Buffer.alloc(0) }));
  },
};

function negative(vector, vectors) {
  const n = new Fields(vector);
  n.get('name');
  const v = new Fields(vectors.find((p) => p.name === n.get('vector')));
  const w = world(v);
  states[n.get('state')](w, v);
  const want = n.get('error'), at = w.sides[n.get('at')], record = n.hex('record');
  n.done();
  try {
    at.receive(record);
  } catch (err) {
    if (!(err instanceof Refused)) throw err;
    if (err.message !== want) throw new Error(`refused as ${err.message} (${err.reason}), want ${want}`);
    return err.reason;
  }
  throw new Error('accepted');
}

// Each value of a vector, changed by one bit, must be noticed: a reader that compares nothing would pass everything.
function noticesChanges(vector) {
  const unnoticed = Object.entries(vector).filter(([name, value]) => {
    if (typeof value !== 'string' || !/^[0-9a-f]{2,}$/.test(value)) return false;
    const changed = hex(value);
    changed[changed.length - 1] ^= 1;
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
check('the file', () => file.done());
console.log(`refused for: ${[...reasons].map(([r, n]) => `${r} (${n})`).join(', ')}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed || passed < 4 ? 1 : 0;
