// Userplane's steps with its labels: preset `erase`, prefix `uspl`. Test names begin with rows of docs/acceptance.md.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { assertQuiet, closeBrowser, dialog, makeTenant, menu, row, signIn, startServer } from './world.mjs';

let server, tenant, page;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });
afterEach(async () => { assertQuiet(page); await page.context().close(); });

async function begin(keys = ['deploy']) {
  tenant = await makeTenant(server, 'erase', { prefix: 'uspl' });
  const user = tenant.user('member');
  const made = [];
  for (const name of keys) made.push(await tenant.key(user.id, { name }));
  page = await signIn(server, user.email);
  return made;
}

async function toKeys() {
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.getByRole('link', { name: 'Account settings' }).first().click();
  await page.getByRole('link', { name: 'Developers' }).click();
}

test('U-01 keys are in the Developers tab, which has an address', async () => {
  await begin();
  await toKeys();
  await assertRow('deploy');
  await page.goto(`${server.url}/_/account?tab=developers`);
  await assertRow('deploy');
  assert.equal(await page.getByRole('link', { name: 'Developers' }).getAttribute('aria-current'), 'page');
});

const assertRow = async (name) => assert.equal(await row(page, name).count(), 1);

test('U-04 the list has the columns Name, API Key, Expires and Status', async () => {
  const [key] = await begin();
  await toKeys();
  const heads = await page.locator('thead th').allInnerTexts();
  for (const head of ['Name', 'API Key', 'Expires', 'Status']) assert.ok(heads.includes(head), heads.join());
  const text = await row(page, 'deploy').innerText();
  assert.match(text, new RegExp(`uspl_kr1…${key.last_four}`));
  assert.match(text, /Never/);
  assert.match(text, /Active/);
  assert.ok(!(await page.content()).includes(key.secret));
});

test('U-05 the three-dot menu of a row holds Rotate Key and Revoke Key', async () => {
  await begin();
  await toKeys();
  assert.deepEqual(await (await menu(page, 'deploy')).locator('a, button').allInnerTexts(), ['Rotate Key', 'Revoke Key']);
});

test('U-06 the page without keys has its own text', async () => {
  await begin([]);
  await toKeys();
  await page.getByRole('heading', { name: 'No API keys yet' }).waitFor();
});

test('U-10 + Create API Key asks for a name, which may be left out, and an expiration', async () => {
  await begin([]);
  await toKeys();
  await page.getByRole('button', { name: '+ Create API Key' }).first().click();
  await dialog(page).getByLabel('Name').waitFor();
  await dialog(page).getByLabel('Expiration').selectOption({ label: 'No expiration' });
  await dialog(page).getByRole('button', { name: 'Create API Key' }).click();
  assert.match(await dialog(page).locator('#secret').inputValue(), /^uspl_kr1\w{49}$/);
});

test('U-11 the five choices of expiration, and “never” is not preselected', async () => {
  await begin([]);
  await page.goto(`${server.url}/keys/new`);
  const choices = await page.getByLabel('Expiration').locator('option').allInnerTexts();
  assert.deepEqual(choices.map((text) => text.replace(/ \(.*/, '')), ['No expiration', '7 days', '30 days', '60 days', '90 days']);
  assert.equal(await page.getByLabel('Expiration').inputValue(), '90');
});

test('U-13 the key is shown once, with a warning to copy it, and then masked', async () => {
  await begin([]);
  await page.goto(`${server.url}/keys/new`);
  await page.getByLabel('Name').fill('once');
  await page.getByRole('button', { name: 'Create API Key' }).click();
  await dialog(page).getByText('Copy the key now').waitFor();
  const secret = await dialog(page).locator('#secret').inputValue();
  assert.equal(await tenant.use(secret), '200');
  await dialog(page).getByLabel('I saved it').check();
  await dialog(page).getByRole('button', { name: 'Done' }).click();
  assert.match(await row(page, 'once').innerText(), new RegExp(`uspl_kr1…${secret.slice(-4)}`));
  assert.ok(!(await page.content()).includes(secret));
});

test('U-14 a fourth key is refused, and what was typed is kept', async () => {
  await begin(['one', 'two', 'three']);
  await page.goto(`${server.url}/keys/new`);
  await page.getByLabel('Name').fill('four');
  await page.getByRole('button', { name: 'Create API Key' }).click();
  await page.getByRole('alert').getByText('3 are allowed').waitFor();
  assert.equal(await page.getByLabel('Name').inputValue(), 'four');
});

test('U-20 Revoke Key opens a confirmation dialog that shows what would break', async () => {
  const [key] = await begin();
  assert.equal(await tenant.use(key.secret), '200');
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Revoke Key').click();
  const box = page.getByRole('alertdialog');
  await box.getByRole('heading', { name: 'Revoke “deploy”?' }).waitFor();
  const text = await box.innerText();
  for (const word of ['Owner', 'Last used', 'In the last hour', 'In the last day', 'cannot be undone']) assert.ok(text.includes(word), word);
});

test('U-21 typing REVOKE and pressing Revoke Key revokes; pasting and surrounding spaces are accepted', async () => {
  const [key] = await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Revoke Key').click();
  await dialog(page).getByLabel(/Type REVOKE/).focus();
  await page.evaluate(() => document.execCommand('insertText', false, '  REVOKE '));
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByRole('status').getByText('permanently deleted').waitFor();
  assert.equal(await tenant.use(key.secret), '401 API_KEY_INVALID');
});

test('U-22 until the phrase matches the button does nothing; closing changes nothing', async () => {
  const [key] = await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Revoke Key').click();
  const button = dialog(page).getByRole('button', { name: 'Revoke Key' });
  assert.ok(await button.isDisabled());
  for (const wrong of ['revoke', 'REVOK', 'REVOKE IT']) {
    await dialog(page).getByLabel(/Type REVOKE/).fill(wrong);
    assert.ok(await button.isDisabled(), wrong);
  }
  await page.keyboard.press('Escape');
  assert.equal(await dialog(page).count(), 0);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Actions for deploy');
  assert.equal(await tenant.use(key.secret), '200');
});

test('U-23 U-25 U-26 the row is gone and another key may be created at once', async () => {
  await begin(['one', 'two', 'three']);
  await toKeys();
  await page.getByText('3 of 3 keys', { exact: true }).waitFor();
  await (await menu(page, 'two')).getByText('Revoke Key').click();
  await dialog(page).getByLabel(/Type REVOKE/).fill('REVOKE');
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByText('2 of 3 keys', { exact: true }).waitFor();
  assert.equal(await row(page, 'two').count(), 0);
});

test('U-27 the dialog explains when to revoke, and shows the addresses that used the key', async () => {
  const [key] = await begin();
  await server.call('POST', '/v1/verify', { key: key.secret, ip: '203.0.113.7' });
  // The server writes usage by address once a second.
  await new Promise((written) => setTimeout(written, 1_500));
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Revoke Key').click();
  await dialog(page).getByText('203.0.113.7').waitFor();
  await dialog(page).getByText('Revoke a key that was exposed', { exact: false }).waitFor();
});

test('U-28 the dialog offers Rotate if a replacement is wanted', async () => {
  await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Revoke Key').click();
  await dialog(page).getByRole('link', { name: /Rotate the key instead/ }).click();
  await dialog(page).getByRole('heading', { name: 'Rotate “deploy”' }).waitFor();
});

test('U-30 U-31 Rotate Key opens a dialog with a name that may be left out, the five choices, and the button Rotate Key', async () => {
  await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Rotate Key').click();
  await dialog(page).getByLabel(/Name.*optional/).fill('');
  assert.equal(await dialog(page).getByLabel('Expiration').locator('option').count(), 5);
  await dialog(page).getByRole('button', { name: 'Rotate Key' }).waitFor();
});

test('U-32 U-33 U-34 the new key is shown once, Done leads back to the list, the old one is denied', async () => {
  const [key] = await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Rotate Key').click();
  await dialog(page).getByLabel('Name').fill('deploy 2');
  await dialog(page).getByLabel('Expiration').selectOption('30');
  await dialog(page).getByRole('button', { name: 'Rotate Key' }).click();
  const secret = await dialog(page).locator('#secret').inputValue();
  assert.match(secret, /^uspl_/);
  assert.notEqual(secret, key.secret);
  await dialog(page).getByText('will not be shown again').waitFor();
  await dialog(page).getByLabel('I saved it').check();
  await dialog(page).getByRole('button', { name: 'Done' }).click();
  await page.waitForURL(/\/keys$/);
  assert.equal(await row(page, 'deploy 2').count(), 1);
  assert.equal(await tenant.use(key.secret), '401 API_KEY_INVALID');
  assert.equal(await tenant.use(secret), '200');
});

test('U-35 rotating at 3 of 3 succeeds', async () => {
  await begin(['one', 'two', 'three']);
  await toKeys();
  await (await menu(page, 'three')).getByText('Rotate Key').click();
  await dialog(page).getByRole('button', { name: 'Rotate Key' }).click();
  await dialog(page).locator('#secret').waitFor();
});

test('U-37 the dialog shows when the old key ends, so that the integration can be moved in time', async () => {
  await begin();
  await toKeys();
  await (await menu(page, 'deploy')).getByText('Rotate Key').click();
  await dialog(page).getByText('ends at once').waitFor();
  await dialog(page).getByText('Put the new key into your integration right away', { exact: false }).waitFor();
});
