// A typical look-up by hand: the digest of a key leads to its record in Redis, as JSON.
import { createHash } from "node:crypto";
import Redis from "ioredis";

const redis = new Redis({ host: "127.0.0.1", port: Number(process.env.REDIS_PORT) });

/** The verdict over a secret, with about what Keyreeve's has; of one that is unknown or has expired, only why. */
export async function verdictOf(secret) {
  const digest = createHash("sha256").update(secret).digest("hex");
  const stored = await redis.get(`key:${digest}`);
  const record = stored && JSON.parse(stored);
  const isGood = record && !(record.expiration && record.expiration <= Date.now());
  if (!isGood) return { valid: false, code: "INVALID_API_KEY", status: 401 };
  return { valid: true, code: "VALID", status: 200, ...record };
}
