#!/usr/bin/env python3
"""Writes vectors.json: an independent implementation of docs/identity.md, standard library only.

    python3 gen_vectors.py > vectors.json

Keys are the SHA-256 of fixed strings; signatures are deterministic (RFC 6979). Nothing here is secret or fit for use.
"""
import hashlib, hmac, json

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
assert (G[1]**2 - G[0]**3 + 3*G[0] - B) % P == 0


def add(a, b):
    if a is None: return b
    if b is None: return a
    if a[0] == b[0]:
        if (a[1] + b[1]) % P == 0: return None
        m = (3*a[0]*a[0] - 3) * pow(2*a[1], -1, P)
    else:
        m = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (m*m - a[0] - b[0]) % P
    return x, (m*(a[0] - x) - a[1]) % P


def mul(k, p=G):
    r = None
    while k:
        if k & 1: r = add(r, p)
        p, k = add(p, p), k >> 1
    return r


def b32(x): return x.to_bytes(32, "big")
def sha(b): return hashlib.sha256(b).digest()
def mac(k, b): return hmac.new(k, b, hashlib.sha256).digest()
def compressed(q): return bytes([2 + q[1] % 2]) + b32(q[0])
def uncompressed(q): return b"\x04" + b32(q[0]) + b32(q[1])
def scalar(name): return int.from_bytes(sha(name.encode()), "big") % (N - 1) + 1


# --- DER ---
def tlv(tag, body):
    n = len(body)
    size = bytes([n]) if n < 128 else (lambda b: bytes([128 + len(b)]) + b)(n.to_bytes((n.bit_length() + 7)//8, "big"))
    return bytes([tag]) + size + body


def seq(*parts): return tlv(0x30, b"".join(parts))
def octets(b): return tlv(4, b)
def integer(i): return tlv(2, i.to_bytes(i.bit_length()//8 + 1, "big"))
def bits(b): return tlv(3, b"\x00" + b)


def oid(*arcs):
    out = b""
    for a in (40*arcs[0] + arcs[1], *arcs[2:]):
        part = bytes([a & 127])
        while a := a >> 7: part = bytes([128 | a & 127]) + part
        out += part
    return tlv(6, out)


def ext(o, value, critical=False): return seq(o, tlv(1, b"\xff") if critical else b"", octets(value))
def name(cn): return seq(tlv(0x31, seq(oid(2, 5, 4, 3), tlv(0x13, cn.encode()))))
def spki(q): return seq(seq(oid(1, 2, 840, 10045, 2, 1), oid(1, 2, 840, 10045, 3, 1, 7)), bits(uncompressed(q)))


# --- ECDSA, RFC 6979 ---
def ecdsa(d, message):
    h = sha(message)
    h1 = b32(int.from_bytes(h, "big") % N)
    v, k = b"\x01"*32, b"\x00"*32
    for sep in (b"\x00", b"\x01"):
        k = mac(k, v + sep + b32(d) + h1); v = mac(k, v)
    while True:
        v = mac(k, v)
        x = int.from_bytes(v, "big")
        if 0 < x < N:
            r = mul(x)[0] % N
            s = pow(x, -1, N) * (int.from_bytes(h, "big") + r*d) % N
            if r and s: return seq(integer(r), integer(s))
        k = mac(k, v + b"\x00"); v = mac(k, v)


def sign(d, context, body): return ecdsa(d, b" "*64 + b"semio/1 " + context.encode() + b"\x00" + body)


ECDSA_SHA256 = seq(oid(1, 2, 840, 10045, 4, 3, 2))
def signed(d, tbs): return seq(tbs, ECDSA_SHA256, bits(ecdsa(d, tbs)))


# --- sticker ---
DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
VALUES = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-:"


def base32(b):
    x = int.from_bytes(b, "big")
    return "".join(DIGITS[x >> 5*i & 31] for i in reversed(range(len(b)*8//5)))


def pair(x): return DIGITS[x >> 5] + DIGITS[x & 31]


def sticker(dev, code):
    word = dev + (":" + base32(code) if code else "")
    plain = sum(i*VALUES.index(c) for i, c in enumerate(word, 1)) % 1021
    look = word.replace("O", "0").replace("I", "1")
    folded = (sum(i*i*VALUES.index(c) for i, c in enumerate(look, 1))
              + (len(word) + 1)**2*(plain >> 5) + (len(word) + 2)**2*(plain & 31)) % 1021
    return f"SEMIO1:{word}:{pair(plain)}{pair(folded)}"


def claim(dev, code):
    prk = mac(dev.encode(), code)
    psk = mac(prk, b"semio-identity/1 psk\x01")
    for i in range(256):
        d = int.from_bytes(mac(prk, b"semio-identity/1 claim" + bytes([i]) + b"\x01"), "big")
        if 0 < d < N: return d, compressed(mul(d)), psk


codes = [b"0123456789abcde", bytes(14) + b"\x01", b"\xff"*15]
devices = ["D-1", "D-7F3K2-0O1", "D-ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"]
stickers = [{"device": d, "code": "", "text": sticker(d, b"")} for d in devices]
for d in devices:
    for c in codes:
        k, public, psk = claim(d, c)
        stickers.append({"device": d, "code": c.hex(), "text": sticker(d, c), "proof_key": b32(k).hex(),
                         "proof_public": public.hex(), "psk": psk.hex(), "proof_of_body": sign(k, "claim", b"body").hex()})

# --- certificates ---
root, device, agreement = scalar("root"), scalar("device"), scalar("agreement")
DEV, HELPER = "D-7F3K2", sha(b"helper data")
ARC = int.from_bytes(sha(b"semio helper data hash")[:4], "big") >> 1
helper = ext(oid(2, 25, ARC), octets(HELPER))
san = ext(oid(2, 5, 29, 17), seq(tlv(0x82, DEV.encode())))
ski = sha(uncompressed(mul(root)))[:20]
forever = tlv(0x18, b"99991231235959Z")


def certificate(serial, subject, q, extensions, by=root, issuer="vector root"):
    return signed(by, seq(tlv(0xA0, integer(2)), integer(serial), ECDSA_SHA256, name(issuer),
                          seq(tlv(0x17, b"260101000000Z"), forever), name(subject), spki(q),
                          tlv(0xA3, seq(*extensions))))


def ca_extensions(q, limits, above=b""):
    return [ext(oid(2, 5, 29, 15), tlv(3, b"\x01\x06"), True), ext(oid(2, 5, 29, 19), seq(tlv(1, b"\xff"), limits), True),
            ext(oid(2, 5, 29, 14), octets(sha(uncompressed(q))[:20]))] + (
                [ext(oid(2, 5, 29, 35), seq(tlv(0x80, above)))] if above else [])


def device_extensions(above):
    return [ext(oid(2, 5, 29, 15), tlv(3, b"\x07\x80"), True), ext(oid(2, 5, 29, 37), seq(oid(1, 3, 6, 1, 5, 5, 7, 3, 2))),
            ext(oid(2, 5, 29, 19), seq(), True), ext(oid(2, 5, 29, 35), seq(tlv(0x80, above))), san, helper]


root_cert = certificate(1, "vector root", mul(root), ca_extensions(mul(root), b""))
leaf = certificate(2**127 + 12345, DEV, mul(device), device_extensions(ski))
csr = signed(device, seq(integer(0), name(DEV), spki(mul(device)), tlv(0xA0, seq(
    oid(1, 2, 840, 113549, 1, 9, 14), tlv(0x31, seq(san, helper))))))


def revocations(by, issuer, above, number, *serials):
    return signed(by, seq(integer(1), ECDSA_SHA256, name(issuer), tlv(0x17, b"260201000000Z"), tlv(0x17, b"260301000000Z"),
                          seq(*[seq(integer(s), tlv(0x17, b"260131000000Z")) for s in serials]),
                          tlv(0xA0, seq(ext(oid(2, 5, 29, 35), seq(tlv(0x80, above))), ext(oid(2, 5, 29, 20), integer(number))))))


def endorse(leaf):
    body = (b"\x01D" + bytes([len(DEV)]) + DEV.encode() + compressed(mul(agreement)) + sha(leaf) + (3).to_bytes(4, "big")
            + (1767225600).to_bytes(8, "big") + (253402300799).to_bytes(8, "big"))
    sig = sign(device, "endorsement", body)
    return body + bytes([len(sig)]) + sig


def credential_of(endorsement, *chain):
    return (bytes([1, len(chain)]) + b"".join(len(c).to_bytes(2, "big") + c for c in chain)
            + len(endorsement).to_bytes(2, "big") + endorsement)


crl = revocations(root, "vector root", ski, 7, 2**127 + 12345)
endorsement = endorse(leaf)
credential = credential_of(endorsement, leaf)

# An issuing CA under the root, a certificate of it for the same device, and its list as a bundle.
issuing = scalar("issuing")
issuing_ski = sha(uncompressed(mul(issuing)))[:20]
issuing_cert = certificate(2, "vector issuing", mul(issuing), ca_extensions(mul(issuing), integer(0), ski))
below = certificate(2**126 + 1, DEV, mul(device), device_extensions(issuing_ski), issuing, "vector issuing")
bundle = revocations(issuing, "vector issuing", issuing_ski, 3, 2**126 + 1) + issuing_cert
authority = sha(name("vector issuing") + spki(mul(issuing)))[:8]

print(json.dumps({
    "origin": "identity/testdata/gen_vectors.py",
    "signatures": [{"key": b32(device).hex(), "context": c, "body": b.hex(), "signature": sign(device, c, b).hex()}
                   for c in ("endorsement", "registration", "admission", "request", "claim", "order", "ack", "challenge", "rekey")
                   for b in (b"", b"body")],
    "stickers": stickers,
    "peer": {"id": DEV, "helper_hash": HELPER.hex(), "signing_key": b32(device).hex(), "agreement_key": b32(agreement).hex(),
             "generation": 3, "root": root_cert.hex(), "certificate": leaf.hex(), "csr": csr.hex(), "endorsement": endorsement.hex(),
             "credential": credential.hex(), "crl": crl.hex(), "crl_number": 7},
    "issuing": {"certificate": issuing_cert.hex(), "credential": credential_of(endorse(below), below, issuing_cert).hex(),
                "crl": bundle.hex(), "crl_number": 3, "authority": authority.hex(),
                "root_crl": revocations(root, "vector root", ski, 8, 2**127 + 12345, 2).hex()},
}, indent=1))
