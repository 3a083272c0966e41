// Express and Redis. POST /v1/verify {"key": "…"}; $PORT, $REDIS_PORT.
import express from "express";
import { verdictOf } from "./look-up.mjs";

const server = express();
server.use(express.json());
server.post("/v1/verify", async (request, response) => {
  const answer = await verdictOf(request.body.key);
  response.status(answer.status).json(answer);
});
server.listen(Number(process.env.PORT), "127.0.0.1");
