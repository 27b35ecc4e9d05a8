// Checks a Clearspan receipt offline: nothing here reads a network, a clock or a disk.
//
// Written from docs/spec (01, 02, 04, 07, 08) alone and not from the engine's code, so that two programs have to agree
// before a receipt counts. It promises the verdict that the engine gives; every refusal is a Refusal that names the step.
// Everything is plain ECMAScript 2020: big integers for the curves, bytes for the rest. Time depends on what is checked,
// which is public.
"use strict";

class Refusal extends Error {
  constructor(step, reason) {
    super(`${step}: ${reason}`);
    this.step = step;
    this.reason = reason;
  }
}

const demand = (holds, step, reason) => {
  if (!holds) throw new Refusal(step, reason);
};

// --- Bytes ---------------------------------------------------------------------------------------------------------

const hex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");

const fromHex = (text, step) => {
  demand(typeof text === "string" && /^([0-9a-f]{2})*$/.test(text), step, "lower-case hex is asked for");
  return Uint8Array.from(text.match(/../g) || [], (pair) => parseInt(pair, 16));
};

const ascii = (text) => Uint8Array.from(text, (c) => c.charCodeAt(0));

const concat = (...parts) => {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
};

const equal = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

const isZero = (bytes) => bytes.every((byte) => byte === 0);

const littleEndian = (bytes) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

const bigEndian = (bytes) => bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);

// Reads fields one after the other and refuses to read past the end.
class Reader {
  constructor(bytes, step) {
    this.bytes = bytes;
    this.step = step;
    this.at = 0;
  }

  take(count) {
    demand(this.at + count <= this.bytes.length, this.step, "the bytes end too early");
    this.at += count;
    return this.bytes.subarray(this.at - count, this.at);
  }

  u16() {
    return Number(littleEndian(this.take(2)));
  }

  u32() {
    return Number(littleEndian(this.take(4)));
  }

  u64() {
    return littleEndian(this.take(8));
  }

  u128() {
    return littleEndian(this.take(16));
  }

  zeros(count) {
    demand(isZero(this.take(count)), this.step, "padding that is not zero");
  }

  magic(text, version) {
    demand(equal(this.take(4), ascii(text)), this.step, `it does not begin with ${text}`);
    demand(this.u16() === version, this.step, "its version is unknown here");
  }

  end() {
    demand(this.at === this.bytes.length, this.step, "bytes are left over");
  }
}

// --- Hash functions ------------------------------------------------------------------------------------------------

const rotl = (x, n) => ((x << n % 32) | (x >>> (32 - (n % 32)) % 32)) >>> 0;
const rotr = (x, n) => ((x >>> n) | (x << (32 - n))) >>> 0;

// The fractional bits of the roots of the first primes, from which SHA-2 takes its constants (FIPS 180-4, 4.2).
const primes = (count) => {
  const found = [];
  for (let n = 2; found.length < count; n += 1) if (found.every((p) => n % p !== 0)) found.push(n);
  return found;
};

const rootFraction = (n, degree, bits) => {
  let low = 0n;
  const target = BigInt(n) << BigInt(bits * degree);
  let high = 1n << BigInt(bits + 10);
  while (high - low > 1n) {
    const middle = (low + high) >> 1n;
    if (middle ** BigInt(degree) <= target) low = middle;
    else high = middle;
  }
  return low & ((1n << BigInt(bits)) - 1n);
};

const SHA256_K = primes(64).map((p) => Number(rootFraction(p, 3, 32)));
const SHA256_START = primes(8).map((p) => Number(rootFraction(p, 2, 32)));
const SHA512_K = primes(80).map((p) => rootFraction(p, 3, 64));
const SHA512_START = primes(8).map((p) => rootFraction(p, 2, 64));
const SM3_START = [0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e];

const padded = (message, block, lengthBytes) => {
  const zeros = (2 * block - ((message.length + 1 + lengthBytes) % block)) % block;
  const tail = new Uint8Array(1 + zeros + lengthBytes);
  tail[0] = 0x80;
  let bits = BigInt(message.length) * 8n;
  for (let i = tail.length - 1; bits > 0n; i -= 1, bits >>= 8n) tail[i] = Number(bits & 255n);
  return concat(message, tail);
};

const words32 = (bytes, at, count) => {
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, 4 * count);
  return Array.from({ length: count }, (_, i) => view.getUint32(4 * i));
};

const fromWords32 = (words) => {
  const view = new DataView(new ArrayBuffer(4 * words.length));
  words.forEach((word, i) => view.setUint32(4 * i, word));
  return new Uint8Array(view.buffer);
};

const sha256 = (message) => {
  const bytes = padded(message, 64, 8);
  const state = SHA256_START.slice();
  for (let at = 0; at < bytes.length; at += 64) {
    const w = words32(bytes, at, 16);
    for (let i = 16; i < 64; i += 1) {
      const s0 = rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ (w[i - 15] >>> 3);
      const s1 = rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ (w[i - 2] >>> 10);
      w.push((w[i - 16] + s0 + w[i - 7] + s1) >>> 0);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i += 1) {
      const s1 = rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25);
      const t1 = (h + s1 + ((e & f) ^ (~e & g)) + SHA256_K[i] + w[i]) >>> 0;
      const s0 = rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) >>> 0;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) >>> 0, c, b, a, (t1 + t2) >>> 0];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] = (state[i] + word) >>> 0;
    });
  }
  return fromWords32(state);
};

const MASK64 = (1n << 64n) - 1n;
const rotr64 = (x, n) => ((x >> n) | (x << (64n - n))) & MASK64;

const sha512 = (message) => {
  const bytes = padded(message, 128, 16);
  const state = SHA512_START.slice();
  for (let at = 0; at < bytes.length; at += 128) {
    const w = Array.from({ length: 16 }, (_, i) => bigEndian(bytes.subarray(at + 8 * i, at + 8 * i + 8)));
    for (let i = 16; i < 80; i += 1) {
      const s0 = rotr64(w[i - 15], 1n) ^ rotr64(w[i - 15], 8n) ^ (w[i - 15] >> 7n);
      const s1 = rotr64(w[i - 2], 19n) ^ rotr64(w[i - 2], 61n) ^ (w[i - 2] >> 6n);
      w.push((w[i - 16] + s0 + w[i - 7] + s1) & MASK64);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 80; i += 1) {
      const s1 = rotr64(e, 14n) ^ rotr64(e, 18n) ^ rotr64(e, 41n);
      const t1 = (h + s1 + ((e & f) ^ ((e ^ MASK64) & g)) + SHA512_K[i] + w[i]) & MASK64;
      const s0 = rotr64(a, 28n) ^ rotr64(a, 34n) ^ rotr64(a, 39n);
      const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) & MASK64;
      [h, g, f, e, d, c, b, a] = [g, f, e, (d + t1) & MASK64, c, b, a, (t1 + t2) & MASK64];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] = (state[i] + word) & MASK64;
    });
  }
  const out = new Uint8Array(64);
  state.forEach((word, i) => {
    for (let j = 0; j < 8; j += 1) out[8 * i + j] = Number((word >> BigInt(56 - 8 * j)) & 255n);
  });
  return out;
};

// GB/T 32905.
const sm3 = (message) => {
  const bytes = padded(message, 64, 8);
  const state = SM3_START.slice();
  const p0 = (x) => x ^ rotl(x, 9) ^ rotl(x, 17);
  const p1 = (x) => x ^ rotl(x, 15) ^ rotl(x, 23);
  for (let at = 0; at < bytes.length; at += 64) {
    const w = words32(bytes, at, 16);
    for (let i = 16; i < 68; i += 1) {
      w.push((p1(w[i - 16] ^ w[i - 9] ^ rotl(w[i - 3], 15)) ^ rotl(w[i - 13], 7) ^ w[i - 6]) >>> 0);
    }
    let [a, b, c, d, e, f, g, h] = state;
    for (let i = 0; i < 64; i += 1) {
      const early = i < 16;
      const ss1 = rotl((rotl(a, 12) + e + rotl(early ? 0x79cc4519 : 0x7a879d8a, i)) >>> 0, 7);
      const ss2 = ss1 ^ rotl(a, 12);
      const ff = early ? a ^ b ^ c : (a & b) | (a & c) | (b & c);
      const gg = early ? e ^ f ^ g : (e & f) | (~e & g);
      const tt1 = (ff + d + ss2 + (w[i] ^ w[i + 4])) >>> 0;
      const tt2 = (gg + h + ss1 + w[i]) >>> 0;
      [h, g, f, e, d, c, b, a] = [g, rotl(f, 19), e, p0(tt2) >>> 0, c, rotl(b, 9), a, tt1];
    }
    [a, b, c, d, e, f, g, h].forEach((word, i) => {
      state[i] = (state[i] ^ word) >>> 0;
    });
  }
  return fromWords32(state);
};

const HASHES = { 1: sha256, 2: sm3 };

// --- Curves --------------------------------------------------------------------------------------------------------

const mod = (x, m) => ((x % m) + m) % m;

const power = (base, exponent, m) => {
  let result = 1n;
  let square = mod(base, m);
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * square) % m;
    square = (square * square) % m;
  }
  return result;
};

const ED_P = (1n << 255n) - 19n;
const ED_L = (1n << 252n) + 27742317777372353535851937790883648493n;
const ED_D = mod(-121665n * power(121666n, ED_P - 2n, ED_P), ED_P);
const ED_ROOT = power(2n, (ED_P - 1n) / 4n, ED_P); // a square root of -1

// The point of a canonical encoding in extended coordinates, or null.
const edPoint = (bytes) => {
  const encoded = littleEndian(bytes);
  const sign = encoded >> 255n;
  const y = encoded & ((1n << 255n) - 1n);
  if (y >= ED_P) return null;
  const u = mod(y * y - 1n, ED_P);
  const v = mod(ED_D * y * y + 1n, ED_P);
  let x = mod(u * power(v, 3n, ED_P) * power(u * power(v, 7n, ED_P), (ED_P - 5n) / 8n, ED_P), ED_P);
  if (mod(v * x * x - u, ED_P) !== 0n) x = (x * ED_ROOT) % ED_P;
  if (mod(v * x * x - u, ED_P) !== 0n || (x === 0n && sign === 1n)) return null;
  if ((x & 1n) !== sign) x = ED_P - x;
  return [x, y, 1n, (x * y) % ED_P];
};

const edAdd = ([x1, y1, z1, t1], [x2, y2, z2, t2]) => {
  const a = mod((y1 - x1) * (y2 - x2), ED_P);
  const b = mod((y1 + x1) * (y2 + x2), ED_P);
  const c = mod(2n * ED_D * t1 * t2, ED_P);
  const d = mod(2n * z1 * z2, ED_P);
  const [e, f, g, h] = [b - a, d - c, d + c, b + a];
  return [mod(e * f, ED_P), mod(g * h, ED_P), mod(f * g, ED_P), mod(e * h, ED_P)];
};

const ED_ZERO = [0n, 1n, 1n, 0n];

const edTimes = (scalar, point) => {
  let result = ED_ZERO;
  for (let i = scalar.toString(2).length - 1; i >= 0; i -= 1) {
    result = edAdd(result, result);
    if ((scalar >> BigInt(i)) & 1n) result = edAdd(result, point);
  }
  return result;
};

const edNegative = ([x, y, z, t]) => [mod(-x, ED_P), y, z, mod(-t, ED_P)];

const edIsZero = ([x, y, z]) => x === 0n && mod(y - z, ED_P) === 0n;

const ED_BASE = edPoint(fromHex("58" + "66".repeat(31), "base"));

// The rule of the network: S < L, canonical R, a key of prime order, and the equation times the cofactor.
const verifyEd25519 = (key, signature, message) => {
  const a = edPoint(key);
  const r = edPoint(signature.subarray(0, 32));
  const s = littleEndian(signature.subarray(32));
  if (a === null || r === null || s >= ED_L || edIsZero(a) || !edIsZero(edTimes(ED_L, a))) return false;
  const k = mod(littleEndian(sha512(concat(signature.subarray(0, 32), key, message))), ED_L);
  const difference = edAdd(edTimes(s, ED_BASE), edNegative(edAdd(edTimes(k, a), r)));
  return edIsZero(edTimes(8n, difference));
};

// y^2 = x^3 - 3x + b over p, of prime order n, in Jacobian coordinates; infinity has z = 0.
class Curve {
  constructor(p, b, n, gx, gy) {
    Object.assign(this, { p, b, n, g: [gx, gy, 1n] });
  }

  // The affine point x || y, or null when a coordinate is not below p or it is off the curve.
  point(bytes) {
    const x = bigEndian(bytes.subarray(0, 32));
    const y = bigEndian(bytes.subarray(32));
    const { p, b } = this;
    return x < p && y < p && mod(y * y - (x * x * x - 3n * x + b), p) === 0n ? [x, y, 1n] : null;
  }

  double([x, y, z]) {
    const { p } = this;
    const [delta, gamma] = [(z * z) % p, (y * y) % p];
    const beta = (x * gamma) % p;
    const alpha = mod(3n * (x - delta) * (x + delta), p);
    const x3 = mod(alpha * alpha - 8n * beta, p);
    return [x3, mod(alpha * (4n * beta - x3) - 8n * gamma * gamma, p), mod(2n * y * z, p)];
  }

  add(a, b) {
    const { p } = this;
    if (a[2] === 0n) return b;
    if (b[2] === 0n) return a;
    const [za, zb] = [(a[2] * a[2]) % p, (b[2] * b[2]) % p];
    const [ua, ub] = [(a[0] * zb) % p, (b[0] * za) % p];
    const [sa, sb] = [(a[1] * zb * b[2]) % p, (b[1] * za * a[2]) % p];
    if (ua === ub) return sa === sb ? this.double(a) : [1n, 1n, 0n];
    const [h, r] = [mod(ub - ua, p), mod(sb - sa, p)];
    const [hh, hhh] = [(h * h) % p, (h * h * h) % p];
    const v = (ua * hh) % p;
    const x = mod(r * r - hhh - 2n * v, p);
    return [x, mod(r * (v - x) - sa * hhh, p), (h * a[2] * b[2]) % p];
  }

  times(scalar, point) {
    let result = [1n, 1n, 0n];
    for (let i = scalar.toString(2).length - 1; i >= 0; i -= 1) {
      result = this.double(result);
      if ((scalar >> BigInt(i)) & 1n) result = this.add(result, point);
    }
    return result;
  }

  // The affine x of a point, or null for infinity.
  x([x, , z]) {
    const inverse = power(z, this.p - 2n, this.p);
    return z === 0n ? null : mod(x * inverse * inverse, this.p);
  }
}

const SM2 = new Curve(
  0xfffffffeffffffffffffffffffffffffffffffff00000000ffffffffffffffffn,
  0x28e9fa9e9d9f5e344d5a9e4bcf6509a7f39789f515ab8f92ddbcbd414d940e93n,
  0xfffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123n,
  0x32c4ae2c1f1981195f9904466a39c9948fe30bbff2660be1715a4589334c74c7n,
  0xbc3736a2f4f6779c59bdcee36b692153d0a9877cc62a474002df32e52139f0a0n,
);

const P256 = new Curve(
  0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn,
  0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn,
  0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
  0x6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296n,
  0x4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5n,
);

const bytes32 = (value) => Uint8Array.from({ length: 32 }, (_, i) => Number((value >> BigInt(8 * (31 - i))) & 255n));

const verifySm2 = (key, signature, message) => {
  const { p, n, b, g } = SM2;
  const point = SM2.point(key);
  const r = bigEndian(signature.subarray(0, 32));
  const s = bigEndian(signature.subarray(32));
  if (point === null || r === 0n || r >= n || s === 0n || s >= n) return false;
  const t = (r + s) % n;
  if (t === 0n) return false;
  const curve = concat(...[p - 3n, b, g[0], g[1]].map(bytes32));
  const z = sm3(concat(Uint8Array.of(0, 128), ascii("1234567812345678"), curve, key));
  const e = bigEndian(sm3(concat(z, message)));
  const x = SM2.x(SM2.add(SM2.times(s, g), SM2.times(t, point)));
  return x !== null && (e + x) % n === r;
};

const verifyP256 = (key, signature, message) => {
  const { n, g } = P256;
  const point = P256.point(key);
  const r = bigEndian(signature.subarray(0, 32));
  const s = bigEndian(signature.subarray(32));
  if (point === null || r === 0n || r >= n || s === 0n || s > (n - 1n) / 2n) return false;
  const inverse = power(s, n - 2n, n);
  const e = bigEndian(sha256(message));
  const x = P256.x(P256.add(P256.times((e * inverse) % n, g), P256.times((r * inverse) % n, point)));
  return x !== null && x % n === r;
};

const SUITES = {
  1: { keyBytes: 32, verify: verifyEd25519 },
  2: { keyBytes: 64, verify: verifySm2 },
  3: { keyBytes: 64, verify: verifyP256 },
};

// --- Trees (RFC 6962) ----------------------------------------------------------------------------------------------

const leafHash = (hash, data) => hash(concat(Uint8Array.of(0), data));
const nodeHash = (hash, left, right) => hash(concat(Uint8Array.of(1), left, right));

// Follow a path from a leaf (RFC 9162, 2.1.3.2); index and count are big integers.
const rootOf = (hash, leaf, path, step) => {
  demand(path.index < path.count, step, "the index is not below the count");
  let at = path.index;
  let last = path.count - 1n;
  let reached = leaf;
  for (const beside of path.hashes) {
    demand(last > 0n, step, "the path is too long");
    if ((at & 1n) === 1n || at === last) {
      reached = nodeHash(hash, beside, reached);
      while ((at & 1n) === 0n && at > 0n) {
        at >>= 1n;
        last >>= 1n;
      }
    } else {
      reached = nodeHash(hash, reached, beside);
    }
    at >>= 1n;
    last >>= 1n;
  }
  demand(last === 0n, step, "the path is too short");
  return reached;
};

const checkPath = (hash, leaf, path, root, step) => {
  demand(equal(rootOf(hash, leaf, path, step), root), step, "the leaf does not lead to the root");
};

const readPath = (reader, wide) => {
  const index = wide ? reader.u64() : BigInt(reader.u32());
  const count = wide ? reader.u64() : BigInt(reader.u32());
  const entries = reader.u32();
  demand(entries <= 64, reader.step, "a path of more than 64 hashes");
  return { index, count, hashes: Array.from({ length: entries }, () => reader.take(32)) };
};

// --- What a receipt is made of -------------------------------------------------------------------------------------

const KINDS = ["plain", "pending", "post", "void", "lock", "claim", "refund", "cancel"];

const readTransfer = (bytes) => {
  const reader = new Reader(bytes, "record");
  const [id, debit, credit, amount, reference, userData] = Array.from({ length: 6 }, () => reader.u128());
  const [expiresAt, until] = [reader.u64(), reader.u64()];
  const [ledger, keyId, validFor] = [reader.u32(), reader.u32(), reader.u32()];
  const [code, flags] = [reader.u16(), reader.u16()];
  const binding = reader.take(32);
  reader.end();
  demand((flags & 15) < KINDS.length && flags >> 12 === 0, "record", "flags that no record has");
  return {
    id, debit, credit, amount, reference, userData, expiresAt, until, ledger, keyId, validFor, code,
    kind: KINDS[flags & 15], flags, binding: hex(binding),
  };
};

const readHeader = (bytes) => {
  const reader = new Reader(bytes, "header");
  reader.magic("CSBH", 1);
  const header = { hashSuite: reader.u16(), shard: reader.u32(), epoch: reader.u32(), height: reader.u64() };
  reader.take(16); // first and last log number
  header.time = reader.u64();
  reader.take(16 + 4); // consumed relay height and time, slot map version
  const [channels, ledgers] = [reader.u16(), reader.u16()];
  header.decisionCount = reader.u64();
  reader.take(8);
  header.accountCount = reader.u64();
  header.genesis = reader.take(32);
  reader.take(96); // parent, first and last record's hash
  header.decisionsRoot = reader.take(32);
  header.stateRoot = reader.take(32);
  reader.take(32);
  header.headersRoot = reader.take(32);
  reader.zeros(64);
  demand(header.hashSuite in HASHES, "header", "its hash suite is unknown");
  for (let i = 0; i < channels; i += 1) {
    reader.take(4);
    reader.zeros(4);
    reader.take(16);
  }
  for (let i = 0; i < ledgers; i += 1) {
    reader.take(4);
    reader.zeros(4);
    reader.take(64);
    reader.zeros(8);
  }
  reader.end();
  header.bytes = bytes;
  return header;
};

const readSignedHeader = (bytes) => {
  const reader = new Reader(bytes, "anchored header");
  const header = readHeader(reader.take(reader.u32()));
  reader.take(4 + 64); // key id and signature: the quorum checked them before it voted
  reader.end();
  return header;
};

const readRelayHeader = (bytes) => {
  const reader = new Reader(bytes, "relay block");
  reader.magic("CSRB", 1);
  reader.zeros(2);
  const header = { height: reader.u64(), view: reader.u64(), time: reader.u64() };
  reader.take(32);
  header.setId = reader.u64();
  header.genesis = reader.take(32);
  header.bodyRoot = reader.take(32);
  header.recordCount = reader.u32();
  reader.zeros(12);
  reader.end();
  header.bytes = bytes;
  return header;
};

const readCertificate = (bytes) => {
  const reader = new Reader(bytes, "certificate");
  reader.magic("CSQC", 1);
  const certificate = {
    phase: reader.u16(), setId: reader.u64(), height: reader.u64(), view: reader.u64(), blockHash: reader.take(32),
  };
  const count = reader.u32();
  reader.zeros(4);
  certificate.signers = [];
  for (let i = 0; i < count; i += 1) {
    const index = reader.u16();
    reader.zeros(6);
    certificate.signers.push({ index, time: reader.take(8), statement: reader.take(32), signature: reader.take(64) });
  }
  reader.end();
  return certificate;
};

const TAGS = { record: 1, decision: 2, header: 3, range: 4, anchored: 5, anchorPath: 6, relay: 7, certificate: 8, statements: 9, account: 10 };
const FORMS = { 1: "payer's", 2: "payee's", 3: "balance" };

const readSections = (bytes) => {
  const reader = new Reader(bytes, "receipt");
  reader.magic("CSRC", 1);
  const form = reader.u16();
  demand(form in FORMS, "receipt", "its form is unknown");
  const sections = {};
  let last = 0;
  while (reader.at < bytes.length) {
    const tag = reader.u16();
    reader.zeros(2);
    demand(tag > last && tag <= TAGS.account, "receipt", "sections out of order, or unknown");
    sections[tag] = reader.take(reader.u32());
    last = tag;
  }
  const needed = form === 3 ? [3, 5, 6, 7, 8, 10] : [1, 2, 3, 5, 6, 7, 8];
  const allowed = [...needed, TAGS.range, TAGS.statements];
  demand(needed.every((tag) => tag in sections), "receipt", "a section is missing");
  demand(Object.keys(sections).every((tag) => allowed.includes(Number(tag))), "receipt", "a section that its form does not have");
  return { form, sections };
};

// --- Trust: a genesis document, or a set that a light client followed to -------------------------------------------

const TRUST_STEP = "trust";

const readTrust = (text) => {
  let tree;
  try {
    tree = JSON.parse(text);
  } catch (error) {
    throw new Refusal(TRUST_STEP, "it is no JSON document");
  }
  demand(tree !== null && typeof tree === "object" && tree.format === 1, TRUST_STEP, "it is neither a genesis nor a trust document");
  demand(tree.hash_suite in HASHES, TRUST_STEP, "its hash suite is unknown");
  const hash = HASHES[tree.hash_suite];
  const isGenesis = "domains" in tree;
  const members = isGenesis ? tree.validators : tree.members;
  demand(Array.isArray(members) && members.length > 0, TRUST_STEP, "it names no validators");
  const trust = {
    hashSuite: tree.hash_suite,
    genesis: isGenesis ? hash(ascii(text)) : fromHex(tree.genesis_hash, TRUST_STEP),
    setId: isGenesis ? 1n : BigInt(tree.set_id),
    firstHeight: isGenesis ? 1n : BigInt(tree.first_height),
    network: tree.network,
    members: members.map((member) => {
      const suite = SUITES[member.suite];
      const key = fromHex(member.public_key, TRUST_STEP);
      demand(suite !== undefined && key.length === suite.keyBytes, TRUST_STEP, "a key that no suite has");
      return { power: BigInt(member.power), verify: suite.verify, key, participant: member.participant };
    }),
  };
  trust.power = trust.members.reduce((sum, member) => sum + member.power, 0n);
  return trust;
};

// --- The receipt ---------------------------------------------------------------------------------------------------

// What proves to a payee that the money is his: created, credited, claimed, credited to suspense.
const PAID = [1, 4, 7, 9];

const signingPrefix = (hash, type, genesis) => hash(concat(ascii(`clearspan/${type}/1`), genesis));

const checkCertificate = (hash, certificate, relay, trust) => {
  demand(certificate.phase === 2, "certificate", "votes to prepare make nothing final");
  demand(
    certificate.height === relay.height && certificate.view >= relay.view && certificate.setId === relay.setId
      && equal(certificate.blockHash, hash(relay.bytes)),
    "certificate", "it certifies another block",
  );
  demand(certificate.height >= trust.firstHeight, "certificate", "its height is before the set's first");
  const prefix = signingPrefix(hash, "vote", trust.genesis);
  const u64 = (value) => Uint8Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(8 * i)) & 255n));
  const head = concat(u64(certificate.setId), u64(certificate.height), u64(certificate.view), Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0), certificate.blockHash);
  let power = 0n;
  let last = -1;
  for (const signer of certificate.signers) {
    demand(signer.index > last && signer.index < trust.members.length, "certificate", "member indexes out of order or range");
    power += trust.members[signer.index].power;
    last = signer.index;
  }
  demand(3n * power > 2n * trust.power, "certificate", `power ${power} of ${trust.power} is no quorum`);
  for (const signer of certificate.signers) {
    const member = trust.members[signer.index];
    const message = concat(prefix, head, signer.time, signer.statement);
    demand(member.verify(member.key, signer.signature, message), "certificate", `the signature of member ${signer.index} does not hold`);
  }
  return power;
};

// The power of signers who say that they executed and hold the anchored header's block.
const verifiedPower = (hash, statements, certificate, trust, bit) => {
  const reader = new Reader(statements, "statements");
  const count = reader.u32();
  reader.zeros(4);
  demand(count > 0, "statements", "the section is empty");
  let power = 0n;
  const seen = new Set();
  for (let i = 0; i < count; i += 1) {
    const bytes = reader.take(reader.u32());
    const statement = new Reader(bytes, "statements");
    const headers = statement.u32();
    statement.zeros(4);
    const width = Math.ceil(headers / 8);
    const [executed, held] = [statement.take(width), statement.take(width)];
    statement.end();
    const name = hex(hash(bytes));
    demand(!seen.has(name), "statements", "one statement stands twice");
    seen.add(name);
    demand(bit < BigInt(headers), "statements", "it speaks of fewer headers");
    const has = (map) => ((map[Number(bit >> 3n)] >> Number(bit & 7n)) & 1) === 1;
    const signers = certificate.signers.filter((signer) => hex(signer.statement) === name);
    demand(signers.length > 0, "statements", "nobody signed it");
    if (has(executed) && has(held)) for (const signer of signers) power += trust.members[signer.index].power;
  }
  reader.end();
  return power;
};

const readAccount = (bytes) => {
  const reader = new Reader(bytes, "account");
  const names = ["id", "debitsPending", "debitsPosted", "creditsPending", "creditsPosted", "creditLimit", "balanceMax", "userData"];
  const account = Object.fromEntries(names.map((name) => [name, reader.u128()]));
  Object.assign(account, { openedAt: reader.u64(), ledger: reader.u32(), keyLineage: reader.u32(), flags: reader.u16(), code: reader.u16() });
  reader.zeros(4);
  account.frozenUntil = reader.u64();
  reader.end();
  return account;
};

// An account's leaf under `accounts`, and `accounts` first among the ten leaves of the state root.
const checkAccount = (hash, section, header) => {
  const reader = new Reader(section, "account");
  const bytes = reader.take(160);
  const path = readPath(reader, true);
  const state = readPath(reader, true);
  reader.end();
  demand(path.count === header.accountCount, "account", "the header counts other accounts");
  const root = rootOf(hash, leafHash(hash, bytes), path, "account");
  demand(state.index === 0n && state.count === 10n, "state", "accounts are the first of ten subtrees");
  const name = concat(ascii("accounts"), new Uint8Array(8));
  checkPath(hash, leafHash(hash, concat(name, root)), state, header.stateRoot, "state");
  return readAccount(bytes);
};

const checkDecision = (hash, sections, header, form, codes, genesis) => {
  const record = new Reader(sections[TAGS.record], "record");
  const transfer = record.take(160);
  const prefix = record.take(32);
  record.end();
  const reader = new Reader(sections[TAGS.decision], "decision");
  reader.magic("CSDP", 1);
  reader.zeros(2);
  const leaf = reader.take(48);
  const path = readPath(reader, true);
  reader.end();
  const decision = new Reader(leaf, "decision");
  const digest = decision.take(32);
  const time = decision.u64();
  const code = decision.u16();
  decision.zeros(6);
  demand(equal(digest, hash(concat(prefix, transfer))), "record", "the decision is on another record");
  // Decisions on administration stand in the same tree: read as a transfer, such a request would say anything.
  const request = signingPrefix(hash, "account", genesis);
  demand(!equal(prefix, request), "record", "it is a request of administration and no transfer");
  demand(form !== 2 || PAID.includes(code), "form", `code ${code} is no proof of payment`);
  demand(String(code) in codes, "decision", `code ${code} is unknown here`);
  demand(path.count === header.decisionCount, "decision", "the header counts other decisions");
  checkPath(hash, leafHash(hash, leaf), path, header.decisionsRoot, "decision");
  return { transfer: readTransfer(transfer), digest: hex(digest), time, code, meaning: codes[String(code)] };
};

// Check a receipt's bytes under a trust document's text; return what it proves or throw a Refusal.
// codes: from the number of a result code to [name, class, next step] (docs/spec/result-codes.md).
const verifyReceipt = (bytes, trustText, codes) => {
  const trust = readTrust(trustText);
  const hash = HASHES[trust.hashSuite];
  const { form, sections } = readSections(bytes);
  const header = readHeader(sections[TAGS.header]);
  const anchored = readSignedHeader(sections[TAGS.anchored]);
  const anchor = new Reader(sections[TAGS.anchorPath], "anchor");
  const anchorPath = readPath(anchor, false);
  anchor.end();
  const relay = readRelayHeader(sections[TAGS.relay]);
  const certificate = readCertificate(sections[TAGS.certificate]);
  for (const each of [header, anchored]) {
    demand(
      each.hashSuite === trust.hashSuite && equal(each.genesis, trust.genesis) && each.shard === anchored.shard,
      "header", "it is of another network or shard",
    );
  }
  const found = { form: FORMS[form], network: trust.network, shard: header.shard, height: header.height, blockTime: header.time };
  if (form === 3) found.account = checkAccount(hash, sections[TAGS.account], header);
  else Object.assign(found, checkDecision(hash, sections, header, form, codes, trust.genesis));
  if (TAGS.range in sections) {
    const reader = new Reader(sections[TAGS.range], "range");
    const range = readPath(reader, true);
    reader.end();
    demand(range.index + 1n === header.height && range.count === anchored.height - 1n, "range", "the path is for another height");
    checkPath(hash, leafHash(hash, hash(header.bytes)), range, anchored.headersRoot, "range");
  } else {
    demand(equal(header.bytes, anchored.bytes), "range", "the anchored header is another one, and no path leads to it");
  }
  // The record that anchors: type 1, version 1, length, then the signed header.
  const signed = sections[TAGS.anchored];
  const recordHead = new Uint8Array(8);
  new DataView(recordHead.buffer).setUint16(0, 1, true);
  new DataView(recordHead.buffer).setUint16(2, 1, true);
  new DataView(recordHead.buffer).setUint32(4, signed.length, true);
  demand(anchorPath.count === BigInt(relay.recordCount), "anchor", "the relay block counts other records");
  checkPath(hash, leafHash(hash, concat(recordHead, signed)), anchorPath, relay.bodyRoot, "anchor");
  demand(equal(relay.genesis, trust.genesis), "relay block", "it is of another network");
  demand(relay.setId === trust.setId, "stale_trust", `set ${relay.setId}, where set ${trust.setId} is known`);
  found.power = checkCertificate(hash, certificate, relay, trust);
  found.powerOfAll = trust.power;
  found.relayHeight = relay.height;
  found.relayTime = relay.time;
  found.state = "anchored";
  if (TAGS.statements in sections) {
    // Header records follow the parent's certificate, which every block but the first begins with.
    const bit = anchorPath.index - (relay.height > 1n ? 1n : 0n);
    const power_ = verifiedPower(hash, sections[TAGS.statements], certificate, trust, bit);
    if (power_ > (trust.power - 1n) / 3n) found.state = "verified";
  }
  return found;
};

if (typeof module !== "undefined") {
  module.exports = { Refusal, verifyReceipt, readTrust, sha256, sha512, sm3, verifyEd25519, verifySm2, verifyP256, hex, fromHex };
}
