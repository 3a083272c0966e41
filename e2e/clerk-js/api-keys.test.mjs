// The unmodified @clerk/backend against the real binary (clerk-wire, sections 1 to 8).
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createClerkClient } from '@clerk/backend';
import { startServer } from './server.mjs';

const USER = 'user_2f4KmXyZaBcDeFgHiJkLmNoPqRs';
const ORG = 'org_2f4KmXyZaBcDeFgHiJkLmNoPqRs';
let server;
let clerk;

const client = (options = {}) =>
  createClerkClient({ apiUrl: server.url, secretKey: server.rootKey, telemetry: { disabled: true }, ...options });
const create = (name, fields = {}) => clerk.apiKeys.create({ name, subject: USER, ...fields });
const refused = (promise, status, code) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.status, status, JSON.stringify(error.errors));
    assert.equal(error.errors[0].code, code);
    assert.ok(error.errors[0].message.length > 0);
    assert.ok(error.errors[0].longMessage.length > 0);
    return true;
  });
const authenticate = (headers) =>
  clerk.authenticateRequest(new Request('http://localhost/', { headers }), { acceptsToken: 'api_key' });

before(async () => {
  server = await startServer();
  clerk = client();
});
after(() => server.stop());

describe('create', () => {
  test('gives the whole key with its secret', async () => {
    const key = await create('whole', {
      description: 'a remark',
      claims: { plan: 'pro', nested: { camelCase: 1 } },
      scopes: ['read', 'write'],
      createdBy: USER,
      secondsUntilExpiration: 3600,
    });
    assert.match(key.constructor.name, /APIKey$/);
    assert.match(key.id, /^ak_[0-9a-f]{32}$/);
    assert.match(key.secret, /^ak_kr1[0-9A-Za-z]{49}$/);
    assert.deepEqual(key.claims, { plan: 'pro', nested: { camelCase: 1 } });
    assert.deepEqual(key.scopes, ['read', 'write']);
    assert.deepEqual(
      [key.type, key.subject, key.name, key.description, key.createdBy, key.revoked, key.expired],
      ['api_key', USER, 'whole', 'a remark', USER, false, false],
    );
    assert.equal(key.revocationReason, null);
    assert.equal(key.lastUsedAt, null);
    assert.ok(Math.abs(key.expiration - (key.createdAt + 3_600_000)) < 1000);
  });

  test('refuses a second usable key of the same name', async () => {
    await create('twice');
    await refused(create('twice'), 409, 'token_creation_conflict');
    await clerk.apiKeys.create({ name: 'twice', subject: ORG });
  });

  test('names the field that is wrong', async () => {
    await refused(create(''), 400, 'bad_request');
    await refused(create('x', { secondsUntilExpiration: -1 }), 400, 'bad_request');
    await refused(create('x', { description: 'x'.repeat(256) }), 400, 'bad_request');
  });
});

describe('list', () => {
  test('is newest first, in pages, with a total', async () => {
    const subject = 'user_list00000000000000000000000';
    for (const name of ['one', 'two', 'three']) await create(name, { subject });
    const all = await clerk.apiKeys.list({ subject });
    assert.deepEqual(all.data.map((key) => key.name), ['three', 'two', 'one']);
    assert.equal(all.totalCount, 3);
    assert.ok(all.data.every((key) => key.secret === undefined));
    const page = await clerk.apiKeys.list({ subject, limit: 1, offset: 1 });
    assert.deepEqual(page.data.map((key) => key.name), ['two']);
    assert.equal(page.totalCount, 3);
    const found = await clerk.apiKeys.list({ subject, query: 'THRE' });
    assert.deepEqual(found.data.map((key) => key.name), ['three']);
  });

  test('hides revoked keys unless they are asked for', async () => {
    const subject = 'user_hide00000000000000000000000';
    const key = await create('gone', { subject });
    await clerk.apiKeys.revoke({ apiKeyId: key.id });
    assert.equal((await clerk.apiKeys.list({ subject })).totalCount, 0);
    const all = await clerk.apiKeys.list({ subject, includeInvalid: true });
    assert.deepEqual(all.data.map((listed) => listed.revoked), [true]);
  });

  test('refuses a limit out of bounds', async () => {
    await refused(clerk.apiKeys.list({ subject: USER, limit: 101 }), 400, 'bad_request');
  });
});

describe('get, update, delete', () => {
  test('get gives the key without its secret', async () => {
    const key = await create('get me');
    const got = await clerk.apiKeys.get(key.id);
    assert.equal(got.id, key.id);
    assert.equal(got.secret, undefined);
    await refused(clerk.apiKeys.get(`ak_${'0'.repeat(32)}`), 404, 'resource_not_found');
  });

  test('update changes what is given and keeps the rest', async () => {
    const key = await create('change me', { description: 'before', scopes: ['read'] });
    const changed = await clerk.apiKeys.update({ apiKeyId: key.id, subject: USER, description: 'after' });
    assert.equal(changed.description, 'after');
    assert.deepEqual(changed.scopes, ['read']);
    const cleared = await clerk.apiKeys.update({ apiKeyId: key.id, subject: USER, description: null, scopes: [] });
    assert.equal(cleared.description, null);
    assert.deepEqual(cleared.scopes, []);
    await refused(clerk.apiKeys.update({ apiKeyId: key.id, subject: ORG }), 400, 'bad_request');
  });

  test('delete ends the key and its record', async () => {
    const key = await create('delete me');
    const deleted = await clerk.apiKeys.delete(key.id);
    assert.deepEqual([deleted.object, deleted.id, deleted.deleted], ['api_key', key.id, true]);
    await refused(clerk.apiKeys.get(key.id), 404, 'resource_not_found');
    await refused(clerk.apiKeys.verify(key.secret), 404, 'resource_not_found');
  });

  test('a secret is never shown again', async () => {
    const key = await create('no secret');
    await refused(clerk.apiKeys.getSecret(key.id), 404, 'SECRET_NOT_STORED');
  });
});

describe('verify and revoke', () => {
  test('verify gives the key and notes its use', async () => {
    const key = await create('verify me', { claims: { a: 1 } });
    const verified = await clerk.apiKeys.verify(key.secret);
    assert.equal(verified.id, key.id);
    assert.equal(verified.secret, undefined);
    assert.deepEqual(verified.claims, { a: 1 });
    assert.ok((await clerk.apiKeys.get(key.id)).lastUsedAt >= key.createdAt);
  });

  test('a revoked key is not verified, and keeps its first reason', async () => {
    const key = await create('revoke me');
    await clerk.apiKeys.verify(key.secret);
    const revoked = await clerk.apiKeys.revoke({ apiKeyId: key.id, revocationReason: 'left the company' });
    assert.deepEqual([revoked.revoked, revoked.revocationReason], [true, 'left the company']);
    await refused(clerk.apiKeys.verify(key.secret), 404, 'resource_not_found');
    const again = await clerk.apiKeys.revoke({ apiKeyId: key.id, revocationReason: 'another' });
    assert.equal(again.revocationReason, 'left the company');
  });

  test('revoke without a reason is fine', async () => {
    const key = await create('no reason');
    const revoked = await clerk.apiKeys.revoke({ apiKeyId: key.id });
    assert.deepEqual([revoked.revoked, revoked.revocationReason], [true, null]);
    await create('no reason');
  });

  test('unknown and mistyped secrets are not found', async () => {
    const key = await create('typed');
    await refused(clerk.apiKeys.verify(`${key.secret.slice(0, -1)}${key.secret.endsWith('a') ? 'b' : 'a'}`), 404, 'resource_not_found');
    await refused(clerk.apiKeys.verify('ak_nothing'), 404, 'resource_not_found');
  });

  test('an expired key is not verified', async () => {
    const key = await create('short', { secondsUntilExpiration: 1 });
    await new Promise((resolve) => setTimeout(resolve, 1100));
    await refused(clerk.apiKeys.verify(key.secret), 404, 'resource_not_found');
    assert.equal((await clerk.apiKeys.get(key.id)).expired, true);
  });
});

describe('authenticateRequest', () => {
  test('signs a key in, with the user or organisation of its subject', async () => {
    const mine = await create('mine', { scopes: ['read'], claims: { a: 1 } });
    const state = await authenticate({ authorization: `Bearer ${mine.secret}` });
    assert.equal(state.isAuthenticated, true);
    const auth = state.toAuth();
    assert.deepEqual(
      [auth.id, auth.subject, auth.name, auth.scopes, auth.claims, auth.userId, auth.orgId],
      [mine.id, USER, 'mine', ['read'], { a: 1 }, USER, null],
    );
    const ours = await clerk.apiKeys.create({ name: 'ours', subject: ORG });
    assert.equal((await authenticate({ authorization: `Bearer ${ours.secret}` })).toAuth().orgId, ORG);
    const bare = await authenticate({ authorization: mine.secret });
    assert.equal(bare.isAuthenticated, true);
  });

  test('keeps a revoked key out', async () => {
    const key = await create('sign me out');
    await clerk.apiKeys.revoke({ apiKeyId: key.id });
    const state = await authenticate({ authorization: `Bearer ${key.secret}` });
    assert.deepEqual([state.isAuthenticated, state.reason], [false, 'token-invalid']);
  });

  test('keeps a request without a key out', async () => {
    assert.equal((await authenticate({})).isAuthenticated, false);
  });

  test('tells a wrong management secret from a wrong key', async () => {
    const key = await create('wrong manager');
    const other = client({ secretKey: 'sk_test_wrong' });
    const request = new Request('http://localhost/', { headers: { authorization: `Bearer ${key.secret}` } });
    const state = await other.authenticateRequest(request, { acceptsToken: 'api_key' });
    assert.deepEqual([state.isAuthenticated, state.reason], [false, 'secret-key-invalid']);
    await refused(other.apiKeys.get(key.id), 401, 'clerk_key_invalid');
  });
});

describe('address', () => {
  for (const end of ['/', '/v1']) {
    test(`may end in ${end}`, async () => {
      const key = await client({ apiUrl: server.url + end }).apiKeys.create({ name: `ends in ${end}`, subject: USER });
      assert.match(key.id, /^ak_/);
    });
  }
});
