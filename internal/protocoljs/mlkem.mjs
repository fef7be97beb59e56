// ML-KEM-768 of FIPS 203, written from the standard, because node:crypto has it only from Node 24 on. It reads vectors and nothing else:
// it is neither constant time nor fast.
import { createHash } from 'node:crypto';

const n = 256, q = 3329, k = 3, du = 10, dv = 4;

const hash = (name, length, ...parts) => {
  const h = createHash(name, length ? { outputLength: length } : {});
  parts.forEach((p) => h.update(p));
  return h.digest();
};
const G = (...parts) => hash('sha3-512', 0, ...parts);
const H = (...parts) => hash('sha3-256', 0, ...parts);
const J = (...parts) => hash('shake256', 32, ...parts);
const prf = (s, b) => hash('shake256', 128, s, Buffer.of(b)); // eta = 2: 64·eta bytes

const bitrev7 = (i) => parseInt(i.toString(2).padStart(7, '0').split('').reverse().join(''), 2);
const power = (e) => { let r = 1; for (let i = 0; i < e; i++) r = r * 17 % q; return r; };
const zetas = Array.from({ length: 128 }, (_, i) => power(bitrev7(i)));
const gammas = Array.from({ length: 128 }, (_, i) => power(2 * bitrev7(i) + 1));

const mod = (x) => ((x % q) + q) % q;
const zip = (a, b, f) => a.map((x, i) => f(x, b[i]));
const add = (a, b) => zip(a, b, (x, y) => mod(x + y));
const sub = (a, b) => zip(a, b, (x, y) => mod(x - y));

function ntt(f) { // algorithm 9
  f = [...f];
  let i = 1;
  for (let len = 128; len >= 2; len /= 2) {
    for (let start = 0; start < n; start += 2 * len) {
      const zeta = zetas[i++];
      for (let j = start; j < start + len; j++) {
        const t = zeta * f[j + len] % q;
        f[j + len] = mod(f[j] - t);
        f[j] = mod(f[j] + t);
      }
    }
  }
  return f;
}

function inverseNTT(f) { // algorithm 10
  f = [...f];
  let i = 127;
  for (let len = 2; len <= 128; len *= 2) {
    for (let start = 0; start < n; start += 2 * len) {
      const zeta = zetas[i--];
      for (let j = start; j < start + len; j++) {
        const t = f[j];
        f[j] = mod(t + f[j + len]);
        f[j + len] = mod(zeta * (f[j + len] - t));
      }
    }
  }
  return f.map((x) => x * 3303 % q);
}

function multiply(a, b) { // algorithms 11 and 12
  const c = new Array(n);
  for (let i = 0; i < 128; i++) {
    const [a0, a1, b0, b1] = [a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]];
    c[2 * i] = mod(a0 * b0 + (a1 * b1 % q) * gammas[i]);
    c[2 * i + 1] = mod(a0 * b1 + a1 * b0);
  }
  return c;
}
const dot = (u, v) => u.map((x, i) => multiply(x, v[i])).reduce(add);

function bits(bytes, d) { // algorithm 6
  const out = [];
  for (let i = 0; i * d < bytes.length * 8; i++) {
    let x = 0;
    for (let j = 0; j < d; j++) {
      const at = i * d + j;
      x |= ((bytes[at >> 3] >> (at & 7)) & 1) << j;
    }
    out.push(x);
  }
  return out;
}

function bytes(values, d) { // algorithm 5
  const out = Buffer.alloc(values.length * d / 8);
  values.forEach((x, i) => {
    for (let j = 0; j < d; j++) {
      const at = i * d + j;
      out[at >> 3] |= ((x >> j) & 1) << (at & 7);
    }
  });
  return out;
}
const compress = (f, d) => f.map((x) => Math.floor((x * 2 ** d + (q - 1) / 2) / q) % 2 ** d);
const decompress = (f, d) => f.map((x) => Math.floor((x * q + 2 ** (d - 1)) / 2 ** d));

function sampleNTT(rho, j, i) { // algorithm 7, over ever longer prefixes of SHAKE128's stream
  for (let length = 840; ; length *= 2) {
    const s = hash('shake128', length, rho, Buffer.of(j, i));
    const a = [];
    for (let at = 0; at + 2 < length && a.length < n; at += 3) {
      const d1 = s[at] + 256 * (s[at + 1] % 16), d2 = (s[at + 1] >> 4) + 16 * s[at + 2];
      if (d1 < q) a.push(d1);
      if (d2 < q && a.length < n) a.push(d2);
    }
    if (a.length === n) return a;
  }
}

function sampleCBD(b) { // algorithm 8, eta = 2
  const bit = bits(b, 1);
  return Array.from({ length: n }, (_, i) => mod(bit[4 * i] + bit[4 * i + 1] - bit[4 * i + 2] - bit[4 * i + 3]));
}

const matrix = (rho) => Array.from({ length: k }, (_, i) => Array.from({ length: k }, (_, j) => sampleNTT(rho, j, i)));
const column = (a, j) => a.map((row) => row[j]);
const vector = (f) => Array.from({ length: k }, (_, i) => f(i));
const chunk = (b, size, i) => b.subarray(size * i, size * (i + 1));

/** The key pair of the 64-byte seed d ‖ z (algorithm 16). */
export function keyPair(seed) {
  const z = seed.subarray(32);
  const g = G(seed.subarray(0, 32), Buffer.of(k));
  const rho = g.subarray(0, 32), sigma = g.subarray(32);
  const a = matrix(rho);
  const s = vector((i) => ntt(sampleCBD(prf(sigma, i))));
  const e = vector((i) => ntt(sampleCBD(prf(sigma, k + i))));
  const t = a.map((row, i) => add(dot(row, s), e[i]));
  return { ek: Buffer.concat([...t.map((p) => bytes(p, 12)), rho]), s, z };
}

function encrypt(ek, m, r) { // algorithm 14
  const t = vector((i) => bits(chunk(ek, 384, i), 12));
  const a = matrix(ek.subarray(384 * k));
  const y = vector((i) => ntt(sampleCBD(prf(r, i))));
  const u = vector((i) => add(inverseNTT(dot(column(a, i), y)), sampleCBD(prf(r, k + i))));
  const mu = decompress(bits(m, 1), 1);
  const v = add(add(inverseNTT(dot(t, y)), sampleCBD(prf(r, 2 * k))), mu);
  return Buffer.concat([...u.map((p) => bytes(compress(p, du), du)), bytes(compress(v, dv), dv)]);
}

/** Whether ek is an encapsulation key: its length, and that every coefficient is below q (section 7.2). */
export function isEncapsulationKey(ek) {
  return ek.length === 384 * k + 32 && vector((i) => bits(chunk(ek, 384, i), 12)).flat().every((x) => x < q);
}

/** Encapsulates the 32 bytes m to ek (algorithm 17). */
export function encapsulate(ek, m) {
  const g = G(m, H(ek));
  return { ciphertext: encrypt(ek, m, g.subarray(32)), shared: g.subarray(0, 32) };
}

/** Decapsulates with a key of keyPair (algorithm 18). */
export function decapsulate({ ek, s, z }, ciphertext) {
  const u = vector((i) => decompress(bits(chunk(ciphertext, 32 * du, i), du), du));
  const v = decompress(bits(ciphertext.subarray(32 * du * k), dv), dv);
  const w = sub(v, inverseNTT(dot(s, u.map(ntt))));
  const m = bytes(compress(w, 1), 1);
  const g = G(m, H(ek));
  return encrypt(ek, m, g.subarray(32)).equals(ciphertext) ? g.subarray(0, 32) : J(z, ciphertext);
}
