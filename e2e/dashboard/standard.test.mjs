// What goes beyond the four systems: overlapping rotation, search by a pasted key, several keys at once, tenant pages.
import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';
import { PASSWORD, assertQuiet, closeBrowser, dialog, makeTenant, menu, row, signIn, startServer } from './world.mjs';

let server, tenant, page, user;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });
afterEach(async () => { assertQuiet(page); await page.context().close(); });

async function begin(role = 'admin', preset = 'standard') {
  tenant = await makeTenant(server, preset);
  user = tenant.user(role);
  page = await signIn(server, user.email);
}

test('X-08 X-11 filters and pages are in the address; the page size is remembered', async () => {
  await begin();
  await tenant.call('POST', '/v1/api_keys/batch', { items: Array.from({ length: 30 }, (_, n) => ({ name: `n${n}`, subject: user.id, scopes: n < 3 ? ['orders:read'] : [] })) });
  await page.goto(`${server.url}/tenant/keys`);
  await page.getByText('1–25 of 30', { exact: true }).waitFor();
  await page.getByRole('link', { name: 'Next' }).click();
  await page.getByText('26–30 of 30', { exact: true }).waitFor();
  await page.goBack();
  await page.getByText('1–25 of 30', { exact: true }).waitFor();
  await page.getByText('More filters').click();
  await page.getByLabel('Scope', { exact: true }).fill('orders:read');
  await page.getByRole('button', { name: 'Filter' }).click();
  await page.getByText('1–3 of 3', { exact: true }).waitFor();
  assert.match(page.url(), /scope=orders%3Aread/);
  await page.getByRole('link', { name: 'Clear filters' }).click();
  await page.getByLabel('Keys on a page').selectOption('10');
  await page.getByText('1–10 of 30', { exact: true }).waitFor();
  await page.goto(`${server.url}/tenant/keys`);
  await page.getByText('1–10 of 30', { exact: true }).waitFor();
});

test('X-16 networks are checked as they are typed, limits are shown, and a member sets only networks', async () => {
  await begin();
  await page.goto(`${server.url}/keys`);
  await page.getByRole('button', { name: 'Create API key' }).first().click();
  await dialog(page).getByLabel('Name').fill('limited');
  await dialog(page).getByText('Scopes and limits').click();
  await dialog(page).getByText('You are at').waitFor();
  await dialog(page).getByLabel(/Networks/).fill('192.0.2.1/24');
  await dialog(page).getByLabel(/Limits/).fill('per-minute 120/60s burst 20 hard\nmonthly 10000/month');
  await dialog(page).getByRole('button', { name: 'Create API key' }).click();
  await page.getByRole('alert').getByText('write 192.0.2.0/24').waitFor();
  await page.getByLabel(/Networks/).fill('192.0.2.0/24, 2001:db8::/32');
  await page.getByRole('button', { name: 'Create API key' }).last().click();
  await page.locator('#secret').waitFor();
  await page.getByLabel('I saved it').check();
  await page.getByRole('link', { name: 'Done' }).or(page.getByRole('button', { name: 'Done' })).click();
  await page.getByRole('link', { name: 'limited', exact: true }).click();
  await page.getByText('192.0.2.0/24, 2001:db8::/32').waitFor();
  await page.getByText('per-minute 120/60s burst 20 hard').waitFor();
  await page.context().close();
  const member = tenant.user('member');
  page = await signIn(server, member.email);
  await page.goto(`${server.url}/keys/new`);
  await page.getByText('Scopes and limits').click();
  await page.getByLabel(/Networks/).waitFor();
  assert.equal(await page.getByLabel(/Limits/).count(), 0);
});

test('X-07 a list without matches and a list without keys have different texts', async () => {
  await begin();
  await tenant.key(user.id, { name: 'only' });
  await page.goto(`${server.url}/keys`);
  await page.getByRole('searchbox').fill('nothing like it');
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('heading', { name: 'No key matches' }).waitFor();
  await page.getByRole('link', { name: 'Clear filters' }).last().click();
  await row(page, 'only').waitFor();
});

test('X-09 a pasted key is found and never becomes part of an address', async () => {
  await begin();
  const key = await tenant.key(user.id, { name: 'lost and found' });
  const addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
  await page.goto(`${server.url}/keys`);
  await page.getByRole('searchbox').fill(`  ${key.secret} `);
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByRole('heading', { name: 'lost and found' }).waitFor();
  assert.ok(addresses.every((address) => !address.includes(key.secret)));
  await page.goto(`${server.url}/keys`);
  await page.getByRole('searchbox').fill(`${key.secret}x`);
  await page.getByRole('button', { name: 'Search' }).click();
  await page.getByText('none of those you can see').waitFor();
  await page.getByRole('searchbox').fill(key.last_four);
  await page.getByRole('button', { name: 'Search' }).click();
  await row(page, 'lost and found').waitFor();
  await page.getByRole('searchbox').fill(key.id);
  await page.getByRole('button', { name: 'Search' }).click();
  await page.waitForURL(`${server.url}/keys/${key.id}`);
});

test('X-10 several keys are revoked with one confirmation that names them, and a result for each', async () => {
  await begin();
  const keys = [];
  for (const name of ['first', 'second', 'third']) keys.push(await tenant.key(user.id, { name }));
  await page.goto(`${server.url}/keys`);
  await row(page, 'first').getByRole('checkbox').check();
  await row(page, 'third').getByRole('checkbox').check();
  await page.getByText('2 selected').waitFor();
  await page.getByRole('button', { name: 'Revoke selected' }).click();
  await dialog(page).getByRole('heading', { name: 'Revoke 2 keys?' }).waitFor();
  for (const name of ['first', 'third']) await dialog(page).locator('.names').getByText(name, { exact: true }).waitFor();
  // One of them is deleted before the form is sent.
  await tenant.call('DELETE', `/v1/api_keys/${keys[0].id}`);
  await dialog(page).getByRole('button', { name: 'Revoke 2 keys' }).click();
  await page.getByText('1 of 2 keys were changed').waitFor();
  await page.getByText('The key is not there any more').waitFor();
  await page.goto(`${server.url}/keys`);
  for (const name of ['second']) await row(page, name).getByRole('checkbox').check();
  await page.getByRole('button', { name: 'Disable selected' }).click();
  await dialog(page).getByRole('button', { name: 'Disable 1 key' }).click();
  await page.getByText('1 of 1 keys were changed').waitFor();
  assert.match(await tenant.use(keys[1].secret), /^403 API_KEY_DISABLED/);
  await page.goto(`${server.url}/keys?state=all`);
  await page.getByRole('checkbox', { name: 'Select all on this page' }).check();
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Export CSV' }).click();
  assert.equal((await download).suggestedFilename(), 'api-keys.csv');
});

test('X-15 an address can fill in the form, and creates nothing', async () => {
  await begin();
  await page.goto(`${server.url}/keys/new?name=ci%20runner&scopes=repo%3Aread&expires=30`);
  assert.equal(await page.getByLabel('Name').inputValue(), 'ci runner');
  assert.equal(await page.getByLabel('Expires').inputValue(), '30');
  assert.equal((await tenant.call('GET', '/v1/api_keys')).body.total_count, 0);
});

test('X-17 X-19 X-20 the secret can be copied, leaving without it warns once, and no page shows it again', async () => {
  await begin();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write'], { origin: server.url });
  await page.goto(`${server.url}/keys`);
  await page.getByRole('button', { name: 'Create API key' }).first().click();
  await dialog(page).getByLabel('Name').fill('secret one');
  await dialog(page).getByRole('button', { name: 'Create API key' }).click();
  const secret = await dialog(page).locator('#secret').inputValue();
  await dialog(page).getByRole('button', { name: 'Done' }).click();
  await page.getByText('You have not copied the key').waitFor();
  await dialog(page).getByRole('button', { name: 'Copy' }).first().click();
  await dialog(page).getByText('Copied').first().waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
  await dialog(page).getByRole('button', { name: 'Done' }).click();
  await page.waitForURL(`${server.url}/keys`);
  assert.ok(!(await page.content()).includes(secret));
  await page.goBack().catch(() => null);
  await page.waitForLoadState();
  await page.waitForTimeout(300);
  assert.ok(!(await page.content()).includes(secret), 'back');
  await page.goto(`${server.url}/keys`);
  await page.reload();
  assert.ok(!(await page.content()).includes(secret), 'reload');
});

test('X-20 sending the same form again creates no second key and shows no secret', async () => {
  await begin();
  await page.goto(`${server.url}/keys/new`);
  await page.getByLabel('Name').fill('twice');
  const fields = await page.locator('form[data-once]').evaluate((form) => [...new FormData(form)]);
  const send = () => page.request.post(`${server.url}/keys/new`, { form: Object.fromEntries(fields), headers: { origin: server.url }, maxRedirects: 0 });
  const first = await send();
  assert.match(await first.text(), /id="secret"/);
  const secret = (await first.text()).match(/id="secret"[^>]*value="([^"]+)"/)[1];
  const second = await send();
  assert.equal(second.status(), 303);
  await page.goto(server.url + second.headers().location);
  await page.getByText('This form was sent twice').waitFor();
  assert.equal((await tenant.call('GET', '/v1/api_keys')).body.total_count, 1);
  assert.equal(await tenant.use(secret), '200');
});

test('X-22 the page shows the first use of the key', async () => {
  await begin();
  await page.goto(`${server.url}/keys/new`);
  await page.getByLabel('Name').fill('waiting');
  await page.getByRole('button', { name: 'Create API key' }).click();
  const secret = await dialog(page).locator('#secret').inputValue();
  await page.getByText('Waiting for first use…').waitFor();
  await server.call('POST', '/v1/verify', { key: secret, ip: '198.51.100.4' });
  await page.getByText('First used just now from 198.51.100.4.').waitFor();
  await dialog(page).getByLabel('I saved it').check();
});

test('X-23 X-24 X-25 rotating with an overlap: both secrets with a countdown, the use of the old one, end now', async () => {
  await begin();
  const key = await tenant.key(user.id, { name: 'moving' });
  await page.goto(`${server.url}/keys`);
  await (await menu(page, 'moving')).getByText('Rotate').click();
  await dialog(page).getByLabel('The old secret ends').selectOption({ label: 'After 1 hour' });
  await dialog(page).getByRole('button', { name: 'Rotate Key' }).click();
  await dialog(page).getByText('The old secret works until').waitFor();
  await dialog(page).getByLabel('I saved it').check();
  const secret = await dialog(page).locator('#secret').inputValue();
  await server.call('POST', '/v1/verify', { key: key.secret });
  await page.goto(`${server.url}/keys/${key.id}`);
  await page.getByRole('heading', { name: 'Two secrets work' }).waitFor();
  await page.getByText(/00:59:\d\d left/).waitFor();
  await page.getByText('still used').waitFor();
  await page.getByRole('button', { name: 'End now' }).click();
  await dialog(page).getByText('somebody has not moved yet').waitFor();
  await dialog(page).getByRole('button', { name: 'End old secret' }).click();
  await page.getByText('The old secret of “moving” has ended').waitFor();
  assert.equal(await tenant.use(key.secret), '401 API_KEY_INVALID');
  assert.equal(await tenant.use(secret), '200');
});

test('X-29 after revoking, the row shows who, when and why, and the message has the measured effect', async () => {
  await begin();
  await tenant.key(user.id, { name: 'gone' });
  await page.goto(`${server.url}/keys?state=all`);
  await (await menu(page, 'gone')).getByText('Revoke').click();
  await dialog(page).getByLabel('Reason').selectOption('superseded');
  await dialog(page).getByLabel(/In your words/).fill('moved to the new one');
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByRole('status').getByText(/Refused everywhere: 1 node confirmed after \d+ ms/).waitFor();
  const text = await row(page, 'gone').innerText();
  assert.match(text, /Revoked/);
  assert.ok(text.includes(user.email) && text.includes('Another key took its place') && text.includes('moved to the new one'), text);
  assert.deepEqual(await (await menu(page, 'gone')).locator('a, button').allInnerTexts(), ['Delete'], 'X-31');
});

test('X-30 a key that an administrator disabled is re-activated by administrators only', async () => {
  await begin('member');
  const key = await tenant.key(user.id, { name: 'held' });
  await tenant.call('POST', `/v1/api_keys/${key.id}/disable`, { reason: 'looks odd' });
  await page.goto(`${server.url}/keys`);
  await row(page, 'held').getByText('looks odd').waitFor();
  await (await menu(page, 'held')).getByText('Re-activate').click();
  await dialog(page).getByRole('button', { name: 'Re-activate' }).click();
  await page.getByText('can be lifted only by one').waitFor();
});

test('X-33 the page of a key: use by outcome, history, denials, addresses', async () => {
  await begin();
  const key = await tenant.key(user.id, { name: 'watched' });
  for (const ip of ['203.0.113.1', '203.0.113.2']) await server.call('POST', '/v1/verify', { key: key.secret, ip });
  await server.call('POST', '/v1/verify', { key: key.secret, scopes: ['admin'], ip: '203.0.113.3' });
  for (const window of ['1 hour', '7 days', '30 days', '90 days', '24 hours']) {
    await page.goto(`${server.url}/keys/${key.id}`);
    await page.getByRole('link', { name: window }).click();
    assert.equal(await page.locator('.chart').getAttribute('aria-label'), '2 ok, 1 refused', window);
  }
  const text = await page.locator('main').innerText();
  for (const word of ['203.0.113.1', '203.0.113.2', '203.0.113.3', 'Refused: a scope is missing', 'created the key']) assert.ok(text.includes(word), word);
});

test('X-34 the page of propagation: nodes, lag, and the last revocations with their measured effect', async () => {
  await begin();
  const key = await tenant.key(user.id, { name: 'fast' });
  await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
  await page.goto(`${server.url}/propagation`);
  assert.match(await page.locator('main').innerText(), /fast\s+revoked\s+\d+\s+1\s+\d+ ms/);
});

test('X-35 the audit log: filter, open an entry, check the chain', async () => {
  await begin();
  await tenant.key(user.id, { name: 'logged' });
  await page.goto(`${server.url}/audit?action=key.created`);
  const entry = page.locator('.entries > li').first();
  await entry.locator('summary').click();
  await entry.getByText('key.created').waitFor();
  await page.getByRole('button', { name: 'Check the chain' }).click();
  await page.getByText(/verified to entry/).waitFor();
});

test('X-36 home shows what fails, what expires, what is unused, what changed', async () => {
  await begin();
  const key = await tenant.key(user.id, { name: 'failing', seconds_until_expiration: 10 * 86_400 });
  for (let n = 0; n < 3; n += 1) await server.call('POST', '/v1/verify', { key: key.secret, scopes: ['admin'] });
  await page.waitForTimeout(1_500);
  await page.goto(`${server.url}/`);
  const card = (name) => page.locator('section.card').filter({ has: page.getByRole('heading', { name }) });
  assert.match(await card('What is failing?').innerText(), /failing[\s\S]*3 × a scope is missing/);
  assert.match(await card('What expires?').innerText(), /failing[\s\S]*in (9|10) days/);
  assert.match(await card('What is unused?').innerText(), /Every key was used/);
  assert.match(await card('What changed?').innerText(), /created the key failing/);
});

test('the policy page: presets side by side, a dry run that saves nothing, saving', async () => {
  await begin();
  await tenant.key(user.id, { name: 'for ever' });
  await page.goto(`${server.url}/tenant/policy`);
  await page.getByRole('button', { name: 'Try Keep' }).click();
  await page.getByRole('heading', { name: 'What this would change' }).waitFor();
  await page.getByText('1 existing keys would not be allowed today').waitFor();
  assert.equal((await tenant.call('GET', '/v1/policy')).body.preset, 'standard');
  await page.getByLabel('Longest (days)').fill('nonsense');
  await page.getByRole('button', { name: 'Save policy' }).click();
  await page.getByRole('alert').getByText('must be a whole number').waitFor();
  assert.equal(await page.getByLabel('Longest (days)').inputValue(), 'nonsense');
  await page.getByLabel('Longest (days)').fill('90');
  await page.getByRole('button', { name: 'Save policy' }).click();
  await page.getByText('The policy was saved').waitFor();
  assert.equal((await tenant.call('GET', '/v1/policy')).body.preset, 'keep');
});

test('the page of users: a link that works once; suspending ends keys and sessions', async () => {
  await begin();
  await page.goto(`${server.url}/tenant/users`);
  await page.getByLabel('E-mail').fill('new@example.com');
  await page.getByRole('button', { name: 'Add and get a link' }).click();
  const link = await page.locator('#link').inputValue();
  const theirs = await (await page.context().browser().newContext()).newPage();
  await theirs.goto(link);
  await theirs.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await theirs.getByLabel('Password once more').fill('something else');
  await theirs.getByRole('button', { name: 'Set password' }).click();
  await theirs.getByRole('alert').getByText('The two passwords are not the same').waitFor();
  await theirs.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await theirs.getByLabel('Password once more').fill(PASSWORD);
  await theirs.getByRole('button', { name: 'Set password' }).click();
  await theirs.waitForURL(`${server.url}/`);
  assert.equal((await theirs.goto(link)).status(), 410);
  await theirs.goto(`${server.url}/account`);
  const id = await theirs.locator('code.break').innerText();
  const key = await tenant.key(id, { name: 'theirs' });
  await page.goto(`${server.url}/tenant/users`);
  await (await menu(page, 'new@example.com')).getByText('Suspend').click();
  await dialog(page).getByText('1 key of theirs works now and will stop.').waitFor();
  await dialog(page).getByRole('button', { name: 'Suspend user' }).click();
  await page.getByText(/new@example.com was suspended. Refused everywhere.*1 key stopped working/).waitFor();
  assert.equal(await tenant.use(key.secret), '401 API_KEY_INVALID');
  await theirs.goto(`${server.url}/keys`);
  assert.match(theirs.url(), /\/login/);
  await theirs.context().close();
});
