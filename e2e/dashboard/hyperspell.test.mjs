// Hyperspell's steps with its labels: preset `keep`. Test names begin with rows of docs/acceptance.md.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { assertQuiet, closeBrowser, dialog, makeTenant, row, signIn, startServer } from './world.mjs';

let server, tenant, page;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });
afterEach(async () => { assertQuiet(page); await page.context().close(); });

async function begin(role = 'admin') {
  tenant = await makeTenant(server, 'keep');
  const user = tenant.user(role);
  const key = await tenant.key(user.id, { name: 'production' });
  page = await signIn(server, user.email);
  return key;
}

async function toKeys() {
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.locator('.menu:popover-open').getByRole('link', { name: 'API Keys' }).click();
}

const ask = async () => {
  await row(page, 'production').getByRole('button', { name: 'Revoke' }).click();
  await dialog(page).getByRole('button', { name: 'Revoke Key', exact: true }).waitFor();
};

test('H-01 an auditor cannot revoke', async () => {
  const key = await begin('auditor');
  await page.goto(`${server.url}/keys`);
  assert.equal(await row(page, 'production').getByRole('button', { name: 'Revoke' }).count(), 0);
  assert.equal((await page.goto(`${server.url}/keys/${key.id}/revoke`)).status(), 403);
});

test('H-02 account menu, API Keys: active keys and revoked ones', async () => {
  const key = await begin();
  await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
  await toKeys();
  assert.match(await row(page, 'production').innerText(), /Revoked/);
});

test('H-03 Revoke is a button on the row', async () => {
  await begin();
  await toKeys();
  assert.ok(await row(page, 'production').getByRole('button', { name: 'Revoke' }).isVisible());
});

test('H-04 Revoke opens a confirmation with Cancel Revoke Key and Revoke Key', async () => {
  await begin();
  await toKeys();
  await ask();
  assert.deepEqual(await dialog(page).locator('.buttons > *').allInnerTexts(), ['Cancel Revoke Key', 'Revoke Key']);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel Revoke Key');
});

test('H-05 Cancel Revoke Key, Escape and a click outside the dialog change nothing', async () => {
  const key = await begin();
  await toKeys();
  await ask();
  await dialog(page).getByText('Cancel Revoke Key').click();
  await ask();
  await page.keyboard.press('Escape');
  await ask();
  await page.mouse.click(5, 5);
  assert.equal(await dialog(page).count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Revoke');
  assert.equal(await tenant.use(key.secret), '200');
});

test('H-06 H-07 H-08 Revoke Key takes effect at once and is final; the key is marked Revoked', async () => {
  const key = await begin();
  await toKeys();
  await ask();
  await dialog(page).getByRole('button', { name: 'Revoke Key', exact: true }).click();
  await page.getByRole('status').getByText(/Refused everywhere: 1 node confirmed after \d+ ms/).waitFor();
  assert.match(await row(page, 'production').innerText(), /Revoked/);
  assert.equal(await row(page, 'production').locator('.acts a, .acts button').count(), 0);
  assert.match(await tenant.use(key.secret), /^401/);
});

test('H-09 the revocation is in the key’s history and in the audit log', async () => {
  const key = await begin();
  await toKeys();
  await ask();
  await dialog(page).getByRole('button', { name: 'Revoke Key', exact: true }).click();
  await page.goto(`${server.url}/keys/${key.id}`);
  assert.match(await page.locator('.life').innerText(), /revoked the key/);
  await page.goto(`${server.url}/audit`);
  assert.match(await page.locator('.entries').innerText(), /revoked the key production/);
  await page.getByRole('button', { name: 'Check the chain' }).click();
  await page.getByText('The chain holds').waitFor();
});

test('H-10 before revoking, name, creation and owner can be checked', async () => {
  await begin();
  await toKeys();
  await ask();
  const text = await dialog(page).innerText();
  for (const word of ['production', 'Created', 'Owner']) assert.ok(text.includes(word), word);
});

test('H-12 keys are created on the page /api-keys and shown once', async () => {
  await begin();
  await page.goto(`${server.url}/api-keys`);
  await page.getByRole('button', { name: 'Create API key' }).click();
  await dialog(page).getByLabel('Name').fill('new one');
  await dialog(page).getByRole('button', { name: 'Create API key' }).click();
  assert.equal(await tenant.use(await dialog(page).locator('#secret').inputValue()), '200');
});
