// better-auth with its plugin for API keys. POST /v1/verify {"key": "…"}; $PORT, $SETUP, $DATABASE, $KEYS, $KEY_COUNT.
//
// $SETUP=defaults: keys in SQLite, each with a rate limit, which is only raised so far that it never refuses.
// $SETUP=best: keys in the memory of the process, without rate limits. It is its fastest set-up.
import { writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import Database from "better-sqlite3";

const DAY_MS = 86_400_000;
const { PORT, SETUP, DATABASE, KEYS, KEY_COUNT } = process.env;

const memory = new Map();
const setups = {
  defaults: { plugin: { rateLimit: { enabled: true, timeWindow: DAY_MS, maxRequests: 1_000_000_000 } } },
  best: {
    plugin: { storage: "secondary-storage", rateLimit: { enabled: false } },
    secondaryStorage: {
      get: (name) => memory.get(name) ?? null,
      set: (name, value) => void memory.set(name, value),
      delete: (name) => void memory.delete(name),
    },
  },
};
const { plugin, ...storage } = setups[SETUP];

const database = new Database(DATABASE);
database.pragma("journal_mode = WAL");
const options = {
  database,
  ...storage,
  secret: "only for measuring, and therefore no secret",
  baseURL: `http://127.0.0.1:${PORT}`,
  emailAndPassword: { enabled: true },
  telemetry: { enabled: false },
  logger: { level: "error" },
  plugins: [apiKey(plugin)],
};
// Tables first: better-auth reads them when it is created.
await (await getMigrations(options)).runMigrations();
const auth = betterAuth(options);

async function issueKeys() {
  const { user } = await auth.api.signUpEmail({
    body: { email: "bench@example.com", password: "correct horse battery", name: "bench" },
  });
  const keys = [];
  for (let number = 0; number < Number(KEY_COUNT); number++) {
    const made = await auth.api.createApiKey({
      body: { userId: user.id, name: "production", permissions: { invoices: ["read"] } },
    });
    keys.push(made.key);
  }
  writeFileSync(KEYS, keys.join("\n") + "\n");
}

async function answer(request, response) {
  let text = "";
  for await (const chunk of request) text += chunk;
  const verdict = await auth.api.verifyApiKey({ body: { key: JSON.parse(text).key } });
  response.writeHead(verdict.valid ? 200 : 401, { "content-type": "application/json" });
  response.end(JSON.stringify(verdict));
}

await issueKeys();
createServer((request, response) => {
  answer(request, response).catch((error) => response.writeHead(500).end(String(error)));
}).listen(Number(PORT), "127.0.0.1");
