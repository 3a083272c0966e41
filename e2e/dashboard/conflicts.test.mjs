// Two people edit one record: a value that the first removed is not restored by the older form of the second (D-01).
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { assertAccessible, assertQuiet, closeBrowser, makeTenant, signIn, startServer } from './world.mjs';

let server, tenant, one, other, first, second;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });
afterEach(async () => {
  for (const page of [one, other]) {
    assertQuiet(page);
    await page.context().close();
  }
});

/** Two administrators, each with their own browser. */
async function begin() {
  tenant = await makeTenant(server, 'standard');
  [first, second] = [tenant.user('admin'), tenant.user('admin')];
  [one, other] = [await signIn(server, first.email), await signIn(server, second.email)];
}

const alert = (page) => page.getByRole('alert');

test('D-01 an older form does not restore a removed scope, and what was typed is kept', async () => {
  await begin();
  const key = await tenant.key(second.id, { name: 'billing', scopes: ['read', 'admin'] });
  const address = `${server.url}/keys/${key.id}/edit`;
  await Promise.all([one.goto(address), other.goto(address)]);
  await one.getByLabel('Scopes').fill('read');
  await one.getByRole('button', { name: 'Save' }).click();
  await one.getByText('was saved').waitFor();

  await other.getByLabel('Description').fill('used by the invoice job');
  await other.getByRole('button', { name: 'Save' }).click();
  await alert(other).getByText(/nothing was saved/).waitFor();
  const told = await alert(other).innerText();
  assert.match(told, new RegExp(first.email.replace('.', '\\.')), 'who');
  assert.match(told, /edited the key/);
  assert.match(told, /just now|seconds? ago|minute/, 'when');
  assert.match(told, /scopes: read, admin → read/, 'what');
  assert.equal(await other.getByLabel('Description').inputValue(), 'used by the invoice job');
  assert.deepEqual((await tenant.call('GET', `/v1/api_keys/${key.id}`)).body.scopes, ['read']);
  await assertAccessible(other, 'a conflict');

  // An untouched field shows the present value, so sending again accepts it.
  assert.equal(await other.getByLabel('Scopes').inputValue(), 'read');
  await other.getByRole('button', { name: 'Save' }).click();
  await other.getByText('was saved').waitFor();
  const { body } = await tenant.call('GET', `/v1/api_keys/${key.id}`);
  assert.deepEqual([body.scopes, body.description], [['read'], 'used by the invoice job']);
});

test('D-01 if both changed a field, the second person sees the other change and then decides', async () => {
  await begin();
  const key = await tenant.key(second.id, { name: 'shared', scopes: ['read', 'admin'] });
  await other.goto(`${server.url}/keys/${key.id}/edit`);
  await tenant.call('PATCH', `/v1/api_keys/${key.id}`, { scopes: ['read'], name: 'renamed' });
  await other.getByLabel('Scopes').fill('read admin write');
  await other.getByRole('button', { name: 'Save' }).click();
  await alert(other).getByText(/nothing was saved/).waitFor();
  assert.equal(await other.getByLabel('Scopes').inputValue(), 'read admin write', 'as typed');
  assert.equal(await other.getByLabel('Name', { exact: true }).inputValue(), 'renamed', 'as it is now');
  // A further change before the second attempt is reported too.
  await tenant.call('PATCH', `/v1/api_keys/${key.id}`, { scopes: [] });
  await other.getByRole('button', { name: 'Save' }).click();
  await alert(other).getByText(/scopes: read → none/).waitFor();
  await other.getByRole('button', { name: 'Save' }).click();
  await other.getByText('was saved').waitFor();
  const { body } = await tenant.call('GET', `/v1/api_keys/${key.id}`);
  assert.deepEqual([body.scopes.sort(), body.name], [['admin', 'read', 'write'], 'renamed']);
});

test('D-01 a dialog reports a conflict as a page does', async () => {
  await begin();
  const key = await tenant.key(second.id, { name: 'listed', scopes: ['read', 'admin'] });
  await other.goto(`${server.url}/keys/${key.id}`);
  await other.locator('.key-acts').getByRole('button', { name: 'Edit' }).click();
  const dialog = other.locator('dialog[open]');
  await dialog.getByLabel('Description').fill('typed');
  await tenant.call('PATCH', `/v1/api_keys/${key.id}`, { scopes: ['read'] });
  await dialog.getByRole('button', { name: 'Save' }).click();
  await alert(other).getByText(/scopes: read, admin → read/).waitFor();
  assert.equal(await other.getByLabel('Description').inputValue(), 'typed');
  assert.deepEqual((await tenant.call('GET', `/v1/api_keys/${key.id}`)).body.scopes, ['read']);
});

test('D-01 an older form does not restore an earlier policy', async () => {
  await begin();
  await Promise.all([one, other].map((page) => page.goto(`${server.url}/tenant/policy`)));
  await one.getByLabel('Keys of one owner', { exact: true }).fill('3');
  await one.getByRole('button', { name: 'Save policy' }).click();
  await one.getByText('The policy was saved').waitFor();
  await other.getByLabel('Longest expiry').or(other.getByLabel('Longest (days)')).fill('90');
  await other.getByRole('button', { name: 'Save policy' }).click();
  await alert(other).getByText(/nothing was saved/).waitFor();
  const told = await alert(other).innerText();
  assert.match(told, new RegExp(first.email.replace('.', '\\.')));
  assert.match(told, /keys of one owner: none → 3/i);
  assert.equal(await other.getByLabel('Longest (days)').inputValue(), '90');
  const { body } = await tenant.call('GET', '/v1/policy');
  assert.deepEqual([body.limit.keys_per_subject, body.expiry.max_days], [3, null]);
  await other.getByLabel('Keys of one owner', { exact: true }).fill('3');
  await other.getByRole('button', { name: 'Save policy' }).click();
  await other.getByText('The policy was saved').waitFor();
});

test('D-01 an older form does not restore an earlier role or check policy', async () => {
  await begin();
  const person = tenant.user('member');
  await Promise.all([one, other].map((page) => page.goto(`${server.url}/tenant/users`)));
  const role = (page) => page.getByLabel(`Role of ${person.email}`);
  const set = (page) => page.locator('tbody tr').filter({ hasText: person.email }).getByRole('button', { name: 'Set' });
  await role(one).selectOption('auditor');
  await set(one).click();
  await one.getByText('was changed').waitFor();
  await role(other).selectOption('admin');
  await set(other).click();
  await alert(other).getByText(/nothing was saved/).waitFor();
  assert.match(await alert(other).innerText(), /role: member → auditor/);
  assert.equal((await tenant.call('GET', `/v1/users/${person.id}`)).body.role, 'auditor');

  await tenant.call('POST', '/v1/check_policies', { name: 'orders', scopes: ['orders:read', 'orders:admin'] });
  const address = `${server.url}/tenant/check-policies/orders/edit`;
  await Promise.all([one.goto(address), other.goto(address)]);
  await one.getByLabel(/Scopes that a key must hold/).fill('orders:read');
  await one.getByRole('button', { name: 'Save check policy' }).click();
  await one.getByText('was changed').waitFor();
  await other.getByLabel('Realm that a 401 names').fill('Acme');
  await other.getByRole('button', { name: 'Save check policy' }).click();
  await alert(other).getByText(/scopes: orders:(read|admin), orders:(read|admin) → orders:read/).waitFor();
  assert.equal(await other.getByLabel('Realm that a 401 names').inputValue(), 'Acme');
  assert.deepEqual((await tenant.call('GET', '/v1/check_policies/orders')).body.scopes, ['orders:read']);
});

test('D-01 an older form to rotate a key does not restore its old name', async () => {
  await begin();
  const key = await tenant.key(second.id, { name: 'before' });
  await other.goto(`${server.url}/keys/${key.id}/rotate`);
  await tenant.call('PATCH', `/v1/api_keys/${key.id}`, { name: 'after' });
  await other.getByRole('button', { name: /Rotate/ }).click();
  await other.locator('#secret').waitFor();
  assert.equal((await tenant.call('GET', `/v1/api_keys/${key.id}`)).body.name, 'after');
  await one.goto(server.url);
});

test('the history of a key shows which fields changed, with old and new values', async () => {
  await begin();
  const key = await tenant.key(second.id, { name: 'lived', scopes: ['read', 'admin'] });
  await tenant.call('PATCH', `/v1/api_keys/${key.id}`, { scopes: ['read'], description: 'not in the log' });
  await tenant.call('POST', `/v1/api_keys/${key.id}/disable`, {});
  for (const page of [one, other]) {
    await page.goto(`${server.url}/keys/${key.id}`);
    const life = await page.locator('.life').innerText();
    assert.match(life, /edited the key/);
    assert.match(life, /scopes: read, admin → read/);
    assert.match(life, /description changed/);
    assert.doesNotMatch(life, /sha256|state:/);
  }
});
