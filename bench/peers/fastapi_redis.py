"""FastAPI and Redis, under uvicorn with one worker. POST /v1/verify {"key": "…"}; $PORT, $REDIS_PORT."""
import hashlib
import json
import os
import time

import redis.asyncio
import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI()
store = redis.asyncio.Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]))


class Question(BaseModel):
    key: str


class Verdict(BaseModel):
    valid: bool = True
    code: str = "VALID"
    status: int = 200
    key_id: str
    tenant: str
    subject: str
    name: str
    scopes: list[str]
    expiration: int | None


@app.post("/v1/verify")
async def verify(question: Question) -> Verdict:
    digest = hashlib.sha256(question.key.encode()).hexdigest()
    stored = await store.get("key:" + digest)
    record = json.loads(stored) if stored else None
    if not record or (record["expiration"] and record["expiration"] <= time.time() * 1000):
        raise HTTPException(401)
    return Verdict(**record)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), loop="uvloop", http="httptools", access_log=False)
