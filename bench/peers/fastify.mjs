// Fastify and Redis. POST /v1/verify {"key": "…"}; $PORT, $REDIS_PORT.
import Fastify from "fastify";
import { verdictOf } from "./look-up.mjs";

const text = { type: "string" };
// With a schema Fastify compiles the serialization of the answer, which is a main reason to use it.
const verdict = {
  type: "object",
  properties: {
    valid: { type: "boolean" },
    code: text,
    status: { type: "integer" },
    key_id: text,
    tenant: text,
    subject: text,
    name: text,
    scopes: { type: "array", items: text },
    expiration: { type: "integer", nullable: true },
  },
};
const schema = {
  body: { type: "object", required: ["key"], properties: { key: text } },
  response: { 200: verdict, 401: verdict },
};

const server = Fastify();
server.post("/v1/verify", { schema }, async (request, reply) => {
  const answer = await verdictOf(request.body.key);
  reply.code(answer.status);
  return answer;
});
await server.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
