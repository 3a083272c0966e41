// Form errors: in words for people, all at once, each at its field (docs/guides/dashboard.md, "Form errors").
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertQuiet, closeBrowser, makeTenant, openPage, signIn, startServer } from './world.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });

/** Words of the API, which must not appear on a page. */
const API_WORDS = /`|root key|param_name|seconds_until_expiration|networks\[|limits\[|key_headers|cache_max_age|\bnull\b|\bsubject\b/i;

/** Sends a form without the browser's own validation. */
async function send(page, name) {
  const button = page.getByRole('button', { name, exact: true });
  await button.evaluate((element) => { element.form.noValidate = true; });
  await button.click();
  await page.getByRole('alert').waitFor();
}

/** Asserts that exactly these fields have an error text, the first has the focus, and the list above links to all. */
async function assertMarked(page, ids) {
  const invalid = page.locator('[aria-invalid="true"]');
  assert.deepEqual(await invalid.evaluateAll((fields) => fields.map(({ id }) => id)), ids);
  assert.equal(await page.evaluate(() => document.activeElement.id), ids[0], 'the cursor');
  const lines = page.getByRole('alert').getByRole('link');
  assert.deepEqual(await lines.evaluateAll((links) => links.map((link) => link.getAttribute('href'))), ids.map((id) => `#${id}`));
  for (const id of ids) {
    const described = (await page.locator(`#${id}`).getAttribute('aria-describedby')).split(' ');
    assert.equal(described[0], `${id}-error`);
    for (const part of described) assert.equal(await page.locator(`#${part}`).count(), 1, part);
    const text = await page.locator(`#${id}-error`).innerText();
    assert.ok(text.length > 10 && !API_WORDS.test(text), text);
  }
}

test('D-05 creating a key: all errors are shown at once, at their fields, and what was typed is kept', async () => {
  const tenant = await makeTenant(server, 'standard');
  const page = await signIn(server, tenant.user('admin').email);
  await page.goto(`${server.url}/tenant/keys/new`);
  await page.getByLabel('Name', { exact: true }).fill('a\u202eb');
  await page.getByLabel('Expires').selectOption('custom');
  await page.getByLabel('Last day (UTC)').fill('2020-01-01');
  await page.getByText('Scopes and limits').click();
  await page.getByLabel('Scopes').fill('read,write');
  await page.getByLabel('Networks').fill('192.0.2.0/24 nonsense');
  await page.getByLabel('Limits').fill('per-minute 120/60s\nalso nonsense');
  await send(page, 'Create API key');
  await assertMarked(page, ['name', 'expires_on', 'scopes', 'networks', 'limits']);
  assert.match(await page.locator('#networks-error').innerText(), /^Network 2 must be a network such as/);
  assert.match(await page.locator('#limits-error').innerText(), /^Limit 2 must be a name, a count and a time/);
  assert.equal(await page.getByLabel('Networks').inputValue(), '192.0.2.0/24 nonsense');
  await assertAccessible(page, 'a form with mistakes');
  await page.getByRole('alert').getByRole('link', { name: /^Network 2/ }).click();
  assert.match(page.url(), /#networks$/);
  assert.equal((await tenant.call('GET', '/v1/api_keys')).body.total_count, 0);
  assertQuiet(page);
  await page.context().close();
});

test('D-05 editing, rotating, revoking: each error at its field', async () => {
  const tenant = await makeTenant(server, 'standard', { preset: 'standard', revoke: { confirm: 'phrase' } });
  const admin = tenant.user('admin');
  const key = await tenant.key(admin.id, { name: 'mine' });
  const page = await signIn(server, admin.email);
  await page.goto(`${server.url}/keys/${key.id}/edit`);
  await page.getByLabel('Name').fill('');
  await page.getByLabel('Networks').fill('10.0.0.1/8');
  await page.getByLabel('Limits').fill('x');
  await send(page, 'Save');
  await assertMarked(page, ['name', 'networks', 'limits']);
  assert.match(await page.locator('#networks-error').innerText(), /write 10\.0\.0\.0\/8/);
  await page.goto(`${server.url}/keys/${key.id}/rotate`);
  await page.getByLabel('Name').fill('a\u202eb');
  await page.getByLabel('Expires').selectOption('custom');
  await page.getByLabel('Last day (UTC)').fill('2020-01-01');
  await send(page, 'Rotate Key');
  await assertMarked(page, ['name', 'expires_on']);
  // Another key of the owner has the name, which only the use case can detect.
  await tenant.key(admin.id, { name: 'taken' });
  await page.goto(`${server.url}/keys/${key.id}/edit`);
  await page.getByLabel('Name').fill('taken');
  await send(page, 'Save');
  await assertMarked(page, ['name']);
  await page.goto(`${server.url}/keys/${key.id}/revoke`);
  await page.getByLabel(/In your words/).evaluate((field) => { field.removeAttribute('maxlength'); field.value = 'x'.repeat(2001); });
  await page.getByRole('button', { name: 'Revoke Key' }).evaluate((button) => { button.disabled = false; });
  await send(page, 'Revoke Key');
  await assertMarked(page, ['reason', 'phrase']);
  await page.context().close();
});

test('D-05 the policy, check policies, users: each error at its field', async () => {
  const tenant = await makeTenant(server, 'standard');
  const page = await signIn(server, tenant.user('admin').email);
  await page.goto(`${server.url}/tenant/policy`);
  await page.getByLabel('Prefix of keys').fill('No!');
  await page.getByLabel('Longest (days)').fill('nonsense');
  await page.getByLabel('Scopes that admins may give').fill('a!b');
  await send(page, 'Save policy');
  await assertMarked(page, ['max_days', 'admin_scopes', 'prefix']);
  // Contradicting fields, in the words of the form.
  await page.goto(`${server.url}/tenant/policy`);
  await page.getByLabel('Keys of one owner').fill('0');
  await send(page, 'Save policy');
  await assertMarked(page, ['limit']);
  await page.goto(`${server.url}/tenant/policy`);
  await page.getByLabel('Overlap when not said (seconds)').fill('99999999');
  await send(page, 'Try (nothing is saved)');
  await assertMarked(page, ['overlap_default']);
  await page.goto(`${server.url}/tenant/check-policies`);
  await page.getByLabel('Name', { exact: true }).fill('No Name');
  await page.getByLabel('Headers that a key is looked for in').fill('Cookie:');
  await page.getByLabel('A gateway may keep a good answer for (seconds)').fill('soon');
  await send(page, 'Make check policy');
  await assertMarked(page, ['name', 'headers', 'seconds']);
  await page.goto(`${server.url}/tenant/users`);
  await page.getByLabel('E-mail').fill('nobody');
  await page.locator('#name').fill('a\u202eb');
  await send(page, 'Add and get a link');
  await assertMarked(page, ['email', 'name']);
  await page.context().close();
});

test('D-05 sign-in, setup and the account: each error at its field', async () => {
  const page = await openPage();
  await page.goto(server.firstAdminLink);
  await page.getByLabel('Email').fill('nobody');
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByLabel('Password once more').fill('another');
  await send(page, 'Set password and sign in');
  await assertMarked(page, ['email', 'new_password', 'again']);
  await page.goto(`${server.url}/login`);
  await page.getByLabel('Email').fill('nobody@example.com');
  await page.getByLabel('Password').fill('wrong password');
  await send(page, 'Sign in');
  await assertMarked(page, ['password']);
  await page.context().close();
  const tenant = await makeTenant(server, 'standard');
  const mine = await signIn(server, tenant.user('member').email);
  await mine.goto(`${server.url}/account`);
  await mine.getByLabel('Present password').fill('wrong password');
  await mine.getByLabel('New password', { exact: true }).fill('a very particular password');
  await mine.getByLabel('New password once more').fill('something else');
  await send(mine, 'Change password');
  await assertMarked(mine, ['password', 'again']);
  assert.match(await mine.locator('#again-error').innerText(), /The two passwords are not the same/);
  await mine.context().close();
});

test('D-05 without script the errors are at their fields too', async () => {
  const tenant = await makeTenant(server, 'standard');
  const page = await signIn(server, tenant.user('admin').email, { javaScriptEnabled: false });
  await page.goto(`${server.url}/keys/new?networks=nonsense`);
  await page.getByLabel('Name').fill('without script');
  await page.getByRole('button', { name: 'Create API key' }).click();
  assert.match(await page.locator('#networks-error').innerText(), /^Network 1 must be/);
  assert.equal(await page.locator('#networks').getAttribute('autofocus'), '');
  await page.context().close();
});

test('D-04 a refused visitor reads that their role does not allow it, and which role does', async () => {
  const tenant = await makeTenant(server, 'standard');
  const key = await tenant.key(tenant.user('admin').id, { name: 'theirs' });
  const said = async (page, path) => {
    assert.equal((await page.goto(server.url + path)).status(), 403, path);
    const text = await page.locator('main').innerText();
    assert.equal(await page.getByRole('heading').innerText(), 'Your role does not allow this');
    assert.ok(!API_WORDS.test(text), text);
    return text;
  };
  const member = await signIn(server, tenant.user('member').email);
  assert.match(await said(member, '/tenant/keys'), /for the administrators and auditors of the tenant, and you are a member\. Ask an administrator/);
  assert.match(await said(member, '/tenant/keys/new'), /administrators of the tenant, and you are a member/);
  await member.context().close();
  const auditor = await signIn(server, tenant.user('auditor').email);
  for (const path of ['/keys/new', '/tenant/keys/new', `/keys/${key.id}/revoke`, `/keys/${key.id}/rotate`]) {
    assert.match(await said(auditor, path), /You are an auditor: auditors read everything and change nothing\. Ask an administrator/);
  }
  // The same when the form is sent.
  await auditor.goto(`${server.url}/account`);
  const csrf = await auditor.locator('input[name="csrf"]').first().inputValue();
  for (const path of ['/keys/new', `/keys/${key.id}/revoke`, `/keys/${key.id}/edit`, `/keys/${key.id}/rotate`]) {
    const answer = await auditor.request.post(server.url + path, { form: { csrf, name: 'x' }, headers: { origin: server.url } });
    assert.equal(answer.status(), 403, path);
    assert.match(await answer.text(), /You are an auditor/, path);
  }
  await auditor.context().close();
});

test('D-04 the forms of a revoked key are replaced by when and by whom it was revoked', async () => {
  const tenant = await makeTenant(server, 'standard');
  const admin = tenant.user('admin');
  const key = await tenant.key(admin.id, { name: 'twice' });
  const page = await signIn(server, admin.email);
  const other = await signIn(server, admin.email);
  await page.goto(`${server.url}/keys/${key.id}/revoke`);
  await other.goto(`${server.url}/keys/${key.id}/revoke`);
  await other.getByRole('button', { name: 'Revoke Key' }).click();
  await other.getByText('was revoked').first().waitFor();
  await page.getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByText(`“twice” was revoked already, just now by ${admin.email}. Nothing was changed.`).waitFor();
  for (const [verb, more] of [['rotate', 'A revoked key cannot be rotated: create another one.'], ['edit', 'A revoked key cannot be edited.'], ['revoke', 'Nothing more can be done to it.']]) {
    await page.goto(`${server.url}/keys/${key.id}/${verb}`);
    const alert = await page.getByRole('alert').innerText();
    assert.ok(alert.startsWith('“twice” was revoked already') && alert.endsWith(more), alert);
    assert.equal(await page.locator('main form').count(), 0, verb);
    assert.ok(!API_WORDS.test(alert), alert);
  }
  assertQuiet(page);
  await page.context().close();
  await other.context().close();
});

test('D-04 at the limit, and for a suspended owner, the page speaks of owners, not of subjects', async () => {
  const tenant = await makeTenant(server, 'standard', { preset: 'standard', limit: { keys_per_subject: 1 } });
  const admin = tenant.user('admin');
  const member = tenant.user('member');
  await tenant.key(admin.id, { name: 'one' });
  const page = await signIn(server, admin.email);
  await page.goto(`${server.url}/keys/new?name=two`);
  await send(page, 'Create API key');
  const full = await page.getByRole('alert').innerText();
  assert.ok(/The owner has 1 key, and 1 are allowed/.test(full) && !API_WORDS.test(full), full);
  await tenant.call('PATCH', `/v1/users/${member.id}`, { status: 'suspended' });
  await page.goto(`${server.url}/tenant/keys/new?name=three&owner=${member.id}`);
  await send(page, 'Create API key');
  await assertMarked(page, ['owner']);
  assert.equal(await page.getByRole('button', { name: 'Create API key' }).count(), 1);
  await page.context().close();
});

test('the form for a key names the scopes that the role may give, unless it may give every scope', async () => {
  const tenant = await makeTenant(server, 'standard', { grant: { member: { scopes: ['orders:*', 'me'] } } });
  const hint = (page) => page.locator('#scopes-hint').textContent();
  const member = await signIn(server, tenant.user('member').email);
  await member.goto(`${server.url}/keys/new`);
  assert.match(await hint(member), /Your role may give orders:\* me\./);
  const admin = await signIn(server, tenant.user('admin').email);
  await admin.goto(`${server.url}/keys/new`);
  assert.doesNotMatch(await hint(admin), /may give/);
  await member.context().close();
  await admin.context().close();
});
