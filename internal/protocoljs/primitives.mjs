// The primitives of docs/protocol.md section 1 and the sealing of section 5, over node:crypto.
import { createCipheriv, createDecipheriv, createECDH, createHash, createHmac, createPublicKey, timingSafeEqual, verify } from 'node:crypto';

export const u8 = (x) => Buffer.of(x);
export const u16 = (x) => { const b = Buffer.alloc(2); b.writeUInt16BE(x); return b; };
export const u32 = (x) => { const b = Buffer.alloc(4); b.writeUInt32BE(x); return b; };
export const u64 = (x) => { const b = Buffer.alloc(8); b.writeBigUInt64BE(BigInt(x)); return b; };
export const cat = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p, 'ascii') : p)));
export const LP = (x) => { const b = cat(x); return cat(u16(b.length), b); };
export const H = (...parts) => createHash('sha256').update(cat(...parts)).digest();
export const hmac = (key, ...parts) => createHmac('sha256', key).update(cat(...parts)).digest();

export const extract = (salt, ikm) => hmac(salt, ikm);
export function expand(prk, info, length) {
  let t = Buffer.alloc(0), out = t;
  for (let i = 1; out.length < length; i++) {
    t = hmac(prk, t, info, u8(i));
    out = cat(out, t);
  }
  return out.subarray(0, length);
}

/** A private scalar of P-256 with its public key. */
export class Key {
  #ecdh = createECDH('prime256v1');
  constructor(scalar) {
    this.#ecdh.setPrivateKey(scalar);
    this.point = this.#ecdh.getPublicKey(null, 'compressed');
  }
  /** ECDH(k, P); throws where the 33 bytes are no point. */
  shared(point) {
    if (point.length !== 33 || (point[0] !== 2 && point[0] !== 3)) throw new Error('not a compressed point');
    const x = this.#ecdh.computeSecret(point);
    return cat(Buffer.alloc(32 - x.length), x);
  }
  /** Whether an ECDSA signature in DER, by this key, holds for SHA-256 of message. */
  verify(message, signature) {
    const u = this.#ecdh.getPublicKey();
    const key = createPublicKey({
      format: 'jwk', key: { kty: 'EC', crv: 'P-256', x: u.subarray(1, 33).toString('base64url'), y: u.subarray(33).toString('base64url') },
    });
    return verify('sha256', message, key, signature);
  }
}

const isGCM = (suite) => suite === 2 || suite === 4;

function split(keys, counter) {
  const [sek, sak, iv] = [keys.subarray(0, 32), keys.subarray(32, 64), Buffer.from(keys.subarray(64, 76))];
  iv.writeUInt32BE((iv.readUInt32BE(8) ^ counter) >>> 0, 8);
  return { sek, sak, iv };
}

export function seal(suite, keys, header, counter, plaintext) {
  const { sek, sak, iv } = split(keys, counter);
  if (isGCM(suite)) {
    const c = createCipheriv('aes-256-gcm', sek, iv).setAAD(header);
    return cat(c.update(plaintext), c.final(), c.getAuthTag());
  }
  const ciphertext = createCipheriv('aes-256-ctr', sek, cat(iv, u32(0))).update(plaintext);
  return cat(ciphertext, hmac(sak, header, ciphertext).subarray(0, 16));
}

/** The plaintext of ciphertext ‖ tag, or null. */
export function open(suite, keys, header, counter, sealed) {
  const { sek, sak, iv } = split(keys, counter);
  const ciphertext = sealed.subarray(0, -16), tag = sealed.subarray(-16);
  if (isGCM(suite)) {
    const d = createDecipheriv('aes-256-gcm', sek, iv, { authTagLength: 16 }).setAAD(header).setAuthTag(tag);
    try {
      return cat(d.update(ciphertext), d.final());
    } catch {
      return null;
    }
  }
  if (!timingSafeEqual(hmac(sak, header, ciphertext).subarray(0, 16), tag)) return null;
  return createDecipheriv('aes-256-ctr', sek, cat(iv, u32(0))).update(ciphertext);
}
