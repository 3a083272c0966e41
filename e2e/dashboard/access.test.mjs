// Accessibility of every page and dialog: axe in light and dark, 320 px, without script, by keyboard alone.
// With SCREENSHOTS=dir it also takes the screenshots of docs/screenshots.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PASSWORD, assertAccessible, assertNoSidewaysScroll, assertQuiet, closeBrowser, dialog, makeTenant, openPage, row, signIn, startServer } from './world.mjs';

const pictures = process.env.SCREENSHOTS;
let server, tenant, admin, keys;

before(async () => {
  server = await startServer();
  tenant = await makeTenant(server, 'standard', { preset: 'standard', prefix: 'acme' });
  admin = { id: server.user('ada@example.com', 'admin', tenant.slug).id, email: 'ada@example.com' };
  const bob = server.user('bob@example.com', 'member', tenant.slug);
  server.user('eve@example.com', 'auditor', tenant.slug);
  keys = {};
  const make = async (name, owner, fields) => { keys[name] = await tenant.key(owner, { name, ...fields }); };
  await make('billing worker', admin.id, { scopes: ['invoices:read', 'invoices:write'], description: 'Nightly run' });
  await make('partner: Northwind', 'org_northwind', { scopes: ['orders:read'], seconds_until_expiration: 5 * 86_400 });
  await make('laptop', bob.id, { seconds_until_expiration: 40 * 86_400 });
  await make('old importer', bob.id, {});
  await make('found in a repository', admin.id, {});
  await make('mobile app', admin.id, { seconds_until_expiration: 60 * 86_400 });
  const verify = (name, question = {}) => server.call('POST', '/v1/verify', { key: keys[name].secret, ...question });
  for (let n = 0; n < 24; n += 1) await verify('billing worker', { ip: `203.0.113.${n % 3}`, scopes: n % 8 === 7 ? ['admin'] : [] });
  for (let n = 0; n < 15; n += 1) await verify('partner: Northwind', { scopes: ['orders:write'], ip: '198.51.100.7' });
  await verify('laptop');
  const act = (name, verb, body = {}) => tenant.call('POST', `/v1/api_keys/${keys[name].id}/${verb}`, body);
  await act('mobile app', 'rotate', { overlap_seconds: 86_400 });
  await verify('mobile app');
  await act('old importer', 'disable', { reason: 'not seen for weeks' });
  await act('found in a repository', 'revoke', { reason_code: 'leaked', revocation_reason: 'public repository' });
  await new Promise((resolve) => { setTimeout(resolve, 1_500); });
});
after(async () => { await closeBrowser(); server.stop(); });

/** Every page and the dialogs that open on it: name of the screenshot, address, function that opens the dialog. */
function places() {
  const worker = keys['billing worker'].id;
  const open = (name, label) => async (page) => {
    await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
    await page.locator('.menu:popover-open').getByText(label, { exact: true }).click();
    await dialog(page).locator('h1').waitFor();
  };
  return [
    ['home', '/'],
    ['keys', '/tenant/keys?state=all'],
    ['own-keys', '/keys'],
    ['key', `/keys/${worker}`],
    ['pair', `/keys/${keys['mobile app'].id}`],
    ['audit', '/audit'],
    ['policy', '/tenant/policy'],
    ['gateways', '/tenant/check-policies'],
    ['users', '/tenant/users'],
    ['propagation', '/propagation'],
    ['account', '/account'],
    ['no-match', '/keys?query=nothing'],
    ['user-menu', '/keys', async (page) => { await page.getByRole('button', { name: /User menu/ }).click(); }],
    ['row-menu', '/keys', async (page) => { await page.getByRole('button', { name: 'Actions for billing worker' }).click(); }],
    ['create', '/keys', async (page) => {
      await page.getByRole('button', { name: 'Create API key' }).first().click();
      await dialog(page).locator('h1').waitFor();
    }],
    ['rotate', '/keys', open('billing worker', 'Rotate')],
    ['revoke', '/keys', open('billing worker', 'Revoke')],
    ['edit', '/keys', open('billing worker', 'Edit')],
    ['disable', '/keys', open('billing worker', 'Disable')],
    ['shortcuts', '/keys', async (page) => { await page.keyboard.press('?'); }],
    ['selected', '/keys', async (page) => {
      await row(page, 'billing worker').getByRole('checkbox').check();
      await page.getByRole('button', { name: 'Revoke selected' }).click();
      await dialog(page).locator('h1').waitFor();
    }],
    ['not-found', '/keys/nonsense'],
    ['revoke-page', `/keys/${worker}/revoke`],
    ['create-page', '/keys/new'],
  ];
}

const SHOWN = ['home', 'keys', 'key', 'pair', 'audit', 'policy', 'users', 'propagation', 'account', 'create', 'rotate', 'revoke'];

async function picture(page, name) {
  if (!pictures || !(SHOWN.includes(name) || ['login', 'reveal'].includes(name))) return;
  mkdirSync(pictures, { recursive: true });
  for (const colorScheme of ['light', 'dark']) {
    for (const [width, height] of [[1280, 800], [360, 740]]) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: join(pictures, `${name}-${colorScheme}-${width}.png`) });
    }
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  await page.setViewportSize({ width: 1280, height: 860 });
}

test('X-42 axe finds nothing on any page or open dialog, in light and in dark; X-40 nothing is wider than 320 px', async () => {
  const page = await signIn(server, admin.email);
  for (const [name, address, open] of places()) {
    await page.goto(server.url + address);
    await open?.(page);
    await assertAccessible(page, name);
    await picture(page, name);
    for (const width of [1280, 1100, 768, 320]) {
      await page.setViewportSize({ width, height: 700 });
      await assertNoSidewaysScroll(page, `${name} at ${width} px`);
    }
    await assertAccessible(page, `${name} at 320 px`);
    await page.setViewportSize({ width: 1280, height: 860 });
  }
  await page.goto(`${server.url}/keys/new?name=shown%20once`);
  await page.getByRole('button', { name: 'Create API key' }).click();
  await dialog(page).locator('#secret').waitFor();
  await assertAccessible(page, 'reveal');
  await picture(page, 'reveal');
  await page.setViewportSize({ width: 320, height: 700 });
  await assertNoSidewaysScroll(page, 'reveal');
  await dialog(page).getByLabel('I saved it').check();
  assertQuiet(page);
  await page.context().close();
});

test('X-42 axe finds nothing on the sign-in pages', async () => {
  const page = await openPage();
  await page.goto(`${server.url}/login`);
  await assertAccessible(page, 'login');
  await picture(page, 'login');
  await page.goto(server.firstAdminLink);
  await assertAccessible(page, 'setup');
  await page.setViewportSize({ width: 320, height: 700 });
  await assertNoSidewaysScroll(page, 'setup');
  assertQuiet(page);
  await page.context().close();
});

test('X-41 the theme follows the system or the user’s choice, and the choice is kept', async () => {
  const page = await signIn(server, admin.email, { colorScheme: 'dark' });
  const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const dark = await paper();
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.getByRole('button', { name: 'Light' }).click();
  await page.goto(`${server.url}/keys`);
  assert.notEqual(await paper(), dark);
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'light');
  await page.context().close();
});

test('X-46 without script: sign in, list, filter, create, reveal, edit, rotate, disable, re-activate, revoke, many, sign out', async () => {
  const page = await signIn(server, admin.email, { javaScriptEnabled: false });
  await page.goto(`${server.url}/keys`);
  await page.getByRole('button', { name: 'Create API key' }).click();
  await page.getByLabel('Name').fill('no script');
  await page.getByRole('button', { name: 'Create API key' }).click();
  const first = await page.locator('#secret').inputValue();
  assert.equal(await tenant.use(first), '200');
  await page.getByRole('button', { name: 'Done' }).click();
  const act = async (label) => {
    await row(page, 'no script').getByRole('button', { name: 'Actions for no script' }).click();
    await page.locator('.menu:popover-open').getByText(label, { exact: true }).click();
  };
  await act('Edit');
  await page.getByLabel('Description').fill('by hand');
  await page.getByRole('button', { name: 'Save' }).click();
  await row(page, 'no script').getByText('by hand').waitFor();
  await act('Rotate');
  await page.getByRole('button', { name: 'Rotate Key' }).click();
  const second = await page.locator('#secret').inputValue();
  assert.deepEqual([await tenant.use(first), await tenant.use(second)], ['401 API_KEY_INVALID', '200']);
  await page.getByRole('button', { name: 'Done' }).click();
  await act('Disable');
  await page.getByRole('button', { name: 'Disable key' }).click();
  assert.equal(await tenant.use(second), '403 API_KEY_DISABLED');
  await act('Re-activate');
  await page.getByRole('button', { name: 'Re-activate' }).click();
  assert.equal(await tenant.use(second), '200');
  await act('Revoke');
  await page.getByRole('button', { name: 'Revoke Key' }).click();
  assert.equal(await tenant.use(second), '401 API_KEY_INVALID');
  await page.getByLabel('Status').selectOption('revoked');
  await page.getByRole('button', { name: 'Filter' }).click();
  await row(page, 'no script').getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Revoke selected' }).click();
  await page.getByRole('button', { name: 'Revoke 1 key' }).click();
  await page.getByText(/was revoked already, .* by/).waitFor();
  await page.goto(`${server.url}/keys?state=revoked`);
  await act('Delete');
  await page.getByRole('button', { name: 'Delete key' }).click();
  await page.getByText('was deleted').waitFor();
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.context().close();
});

test('X-37 X-38 by keyboard alone: create, copy, find, revoke; focus is seen and comes back', async () => {
  const page = await openPage();
  await page.goto(`${server.url}/login`);
  await page.locator('#email:focus').waitFor();
  await page.keyboard.type(admin.email);
  await page.keyboard.press('Tab');
  await page.keyboard.type(PASSWORD);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${server.url}/`);
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to content');
  await page.goto(`${server.url}/keys`);
  await page.keyboard.press('n');
  await dialog(page).getByLabel('Name').waitFor();
  await page.keyboard.type('typed');
  await page.keyboard.press('Enter');
  await dialog(page).locator('#secret').waitFor();
  const secret = await dialog(page).locator('#secret').inputValue();
  assert.equal(await page.evaluate(() => document.activeElement.id), 'secret');
  assert.equal(await page.evaluate(() => document.activeElement.selectionEnd), secret.length);
  await tabTo(page, 'I saved it');
  await page.keyboard.press('Space');
  await tabTo(page, 'Done');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${server.url}/keys`);
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'query');
  await page.keyboard.type('typed');
  await page.keyboard.press('Enter');
  await page.waitForURL(/query=typed/);
  await page.keyboard.press('j');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'typed');
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineWidth);
  assert.ok(Number.parseFloat(outline) >= 2, outline);
  await tabTo(page, 'Actions for typed');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Revoke');
  await page.keyboard.press('Enter');
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).waitFor();
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel');
  await page.keyboard.press('Escape');
  assert.equal(await focused(page), 'Actions for typed');
  await page.keyboard.press('Enter');
  await tabTo(page, 'Revoke');
  await page.keyboard.press('Space');
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).waitFor();
  await tabTo(page, 'Revoke Key');
  await page.keyboard.press('Enter');
  await page.getByRole('status').getByText('was revoked').waitFor();
  assert.equal(await tenant.use(secret), '401 API_KEY_INVALID');
  await page.goto(`${server.url}/account`);
  await page.getByLabel('Shortcuts by key').selectOption('off');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.goto(`${server.url}/keys`);
  await page.keyboard.press('n');
  assert.equal(await dialog(page).count(), 0, 'shortcuts can be switched off');
  assertQuiet(page);
  await page.context().close();
});

const focused = (page) => page.evaluate(() => {
  const element = document.activeElement;
  return element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent.trim() ?? element.textContent.trim();
});

/** Presses Tab until the element with this name has the focus. */
async function tabTo(page, name) {
  for (let n = 0; n < 60; n += 1) {
    await page.keyboard.press('Tab');
    if (await focused(page) === name) return;
  }
  assert.fail(`Tab does not lead to ${name}`);
}
