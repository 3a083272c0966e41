// Spectro Cloud Palette's steps with its labels: preset `hold`. Test names begin with rows of docs/acceptance.md.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { assertQuiet, closeBrowser, dialog, makeTenant, menu, row, signIn, startServer } from './world.mjs';

let server, tenant, page, user;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });
afterEach(async () => { assertQuiet(page); await page.context().close(); });

async function begin(role = 'member', owner) {
  tenant = await makeTenant(server, 'hold');
  user = tenant.user(role);
  const key = await tenant.key(owner ?? user.id, { name: 'cluster', description: 'for the cluster' });
  page = await signIn(server, user.email);
  return key;
}

async function toOwnKeys() {
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.locator('.menu:popover-open').getByRole('link', { name: 'My API Keys' }).click();
}

async function toTenantKeys() {
  await page.getByRole('link', { name: 'Tenant Admin' }).click();
  const settings = page.getByRole('navigation', { name: 'Main Menu' }).getByRole('group', { name: 'Tenant Settings' });
  await settings.getByRole('link', { name: 'API Keys' }).click();
}

const active = async (name) => (await row(page, name).locator('td.status').innerText()).split('\n')[0].trim();

test('P-01 user scope: User Menu, My API Keys', async () => {
  await begin();
  await toOwnKeys();
  await page.getByRole('heading', { name: 'My API Keys' }).waitFor();
  assert.equal(await row(page, 'cluster').count(), 1);
});

test('P-02 tenant scope: Tenant Admin, Tenant Settings, API Keys; for administrators only', async () => {
  await begin('admin', 'user_somebody');
  await toTenantKeys();
  assert.equal(await row(page, 'cluster').count(), 1);
  assert.match(await row(page, 'cluster').innerText(), /user_somebody/);
  await page.context().close();
  page = await signIn(server, tenant.user('member').email);
  assert.equal(await page.getByRole('link', { name: 'Tenant Admin' }).count(), 0);
  const answer = await page.goto(`${server.url}/tenant/keys`);
  assert.equal(answer.status(), 403);
  await page.getByText('PERMISSION_DENIED').waitFor();
});

test('P-03 a user sees and changes own keys only', async () => {
  const key = await begin('member', 'user_somebody');
  await toOwnKeys();
  assert.equal(await row(page, 'cluster').count(), 0);
  for (const path of [`/keys/${key.id}`, `/keys/${key.id}/revoke`, `/keys/${key.id}/edit`]) {
    assert.equal((await page.goto(server.url + path)).status(), 404, path);
  }
});

test('P-06 the column Active, and in the tenant User Name and Expiration', async () => {
  await begin('admin');
  await toTenantKeys();
  const heads = await page.locator('thead th').allInnerTexts();
  for (const head of ['Name', 'User Name', 'Expires', 'Active']) assert.ok(heads.includes(head), heads.join());
  assert.match(await row(page, 'cluster').innerText(), /for the cluster/);
});

test('P-07 the menu of a row: Edit, Revoke or Re-activate, Delete', async () => {
  await begin();
  await toOwnKeys();
  assert.deepEqual(await (await menu(page, 'cluster')).locator('a, button').allInnerTexts(), ['Edit', 'Revoke', 'Delete']);
  await page.locator('.menu:popover-open').getByText('Revoke').click();
  assert.deepEqual(await (await menu(page, 'cluster')).locator('a, button').allInnerTexts(), ['Edit', 'Re-activate', 'Delete']);
});

test('P-09 creating beyond the limit is refused with the reason, and an administrator finds Resource Limits', async () => {
  await begin('admin');
  await tenant.call('PUT', '/v1/policy', { preset: 'hold', limit: { keys_per_subject: 1 } });
  await page.goto(`${server.url}/keys/new`);
  await page.getByLabel('API Key Name').fill('two');
  await page.getByRole('button', { name: 'Generate' }).click();
  await page.getByRole('alert').getByText('1 are allowed').waitFor();
  await page.getByRole('link', { name: 'Resource Limits' }).click();
  await page.getByLabel('Keys of one owner').fill('2');
  await page.getByRole('button', { name: 'Save policy' }).click();
  await page.getByText('The policy was saved').waitFor();
  await page.goto(`${server.url}/keys/new?name=two`);
  await page.getByRole('button', { name: 'Generate' }).click();
  await dialog(page).locator('#secret').waitFor();
});

test('P-10 P-11 P-12 Add New API key: API Key Name, Description, Expiration Date or Custom, User Name; Generate shows it once', async () => {
  await begin('admin');
  const other = tenant.user('member');
  await toTenantKeys();
  await page.getByRole('button', { name: 'Add New API key' }).click();
  await dialog(page).getByLabel('API Key Name').fill('for bob');
  await dialog(page).getByLabel('User Name').fill(other.email);
  await dialog(page).getByLabel('Description').fill('line one\nline two');
  assert.ok(!(await dialog(page).getByLabel('Last day').isVisible()));
  await dialog(page).getByLabel('Expiration Date').selectOption('custom');
  await dialog(page).getByLabel('Last day').fill('2099-01-31');
  await dialog(page).getByRole('button', { name: 'Generate' }).click();
  const secret = await dialog(page).locator('#secret').inputValue();
  const me = await server.call('GET', '/v1/me', undefined, { key: secret });
  assert.equal(me.body.subject, other.id);
  assert.equal(me.body.description, 'line one\nline two');
  assert.equal(new Date(me.body.expiration).toISOString().slice(0, 10), '2099-01-31');
});

test('P-13 Edit and Save change name, description and expiry; never the value or the user', async () => {
  const key = await begin();
  await toOwnKeys();
  await (await menu(page, 'cluster')).getByText('Edit').click();
  assert.equal(await dialog(page).locator('[name="owner"], [name="subject"]').count(), 0);
  await dialog(page).getByLabel('API Key Name').fill('renamed');
  await dialog(page).getByLabel('Expiration Date').selectOption('30');
  await dialog(page).getByRole('button', { name: 'Save' }).click();
  assert.match(await row(page, 'renamed').innerText(), /in 29 days|in 30 days/);
  assert.equal(await tenant.use(key.secret), '200');
});

test('P-14 Delete removes the row', async () => {
  const key = await begin();
  await toOwnKeys();
  await (await menu(page, 'cluster')).getByText('Delete').click();
  await dialog(page).getByRole('button', { name: 'Delete key' }).click();
  await page.getByText('was deleted').waitFor();
  assert.equal(await row(page, 'cluster').count(), 0);
  assert.equal(await tenant.use(key.secret), '401 API_KEY_INVALID');
});

test('P-15 the form proposes an expiry and shows its date', async () => {
  await begin();
  await page.goto(`${server.url}/keys/new`);
  const chosen = page.getByLabel('Expiration Date').locator('option:checked');
  assert.match(await chosen.innerText(), /^\d+ days \(until \d+ \w+ \d{4}\)$/);
});

for (const scope of ['user', 'tenant']) {
  test(`P-20 P-21 P-22 P-23 P-25 ${scope} scope: Revoke without a dialog, Inactive, Re-activate, Active, the same value works`, async () => {
    const key = await begin(scope === 'tenant' ? 'admin' : 'member', scope === 'tenant' ? 'user_somebody' : undefined);
    const to = scope === 'tenant' ? toTenantKeys : toOwnKeys;
    await to();
    for (let round = 0; round < 2; round += 1) {
      assert.equal(await active('cluster'), 'Active');
      await (await menu(page, 'cluster')).getByRole('button', { name: 'Revoke' }).click();
      await page.getByRole('status').getByText('is inactive now').waitFor();
      assert.equal(await active('cluster'), 'Inactive');
      assert.match(await tenant.use(key.secret), /^401/);
      await (await menu(page, 'cluster')).getByRole('button', { name: 'Re-activate' }).click();
      await page.getByRole('status').getByText('is active again').waitFor();
      assert.equal(await active('cluster'), 'Active');
      assert.equal(await tenant.use(key.secret), '200');
    }
  });
}

test('P-24 the owner re-activates a key that an administrator revoked', async () => {
  const key = await begin();
  await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
  await toOwnKeys();
  await (await menu(page, 'cluster')).getByRole('button', { name: 'Re-activate' }).click();
  assert.equal(await tenant.use(key.secret), '200');
});

test('P-40 P-41 the audit log: who, what, from where, filtered and exported', async () => {
  const key = await begin('admin');
  await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
  await page.getByRole('link', { name: 'Audit log' }).first().click();
  await page.getByLabel('What').selectOption({ label: 'Disabled' });
  await page.getByLabel('About (id)').fill(key.id);
  await page.getByRole('button', { name: 'Filter' }).click();
  const entries = page.locator('.entries > li');
  const text = await entries.allInnerTexts();
  assert.ok(text.length <= 1 && page.url().includes(key.id), text.join());
  await page.getByRole('link', { name: 'Clear filters' }).first().click();
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'CSV' }).click();
  assert.equal((await download).suggestedFilename(), 'audit.csv');
});
