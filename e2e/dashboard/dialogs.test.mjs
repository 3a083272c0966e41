// Dialogs show their heading and buttons on small screens, and numbers belong to the secret they are shown for.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertQuiet, browser, closeBrowser, dialog, makeTenant, menu, row, signIn, startServer } from './world.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });

/** Asserts that an element is completely visible inside its window. */
async function assertSeen(page, locator, what) {
  const box = await locator.boundingBox();
  const { width, height } = page.viewportSize();
  assert.ok(box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height, `${what}: ${JSON.stringify(box)} in ${width}×${height}`);
  const isOnTop = await locator.evaluate((element) => {
    const { x, y, width, height } = element.getBoundingClientRect();
    return element.contains(document.elementFromPoint(x + width / 2, y + height / 2));
  });
  assert.ok(isOnTop, `${what} is covered`);
}

test('D-06 a dialog shows its question with the name of the key, and the button that has the focus, on small screens', async () => {
  const tenant = await makeTenant(server, 'standard', { preset: 'standard', revoke: { confirm: 'phrase' } });
  const admin = tenant.user('admin');
  const member = tenant.user('member');
  const name = 'the billing worker of the northern warehouse';
  const key = await tenant.key(admin.id, { name, scopes: ['read'] });
  await tenant.call('POST', `/v1/api_keys/${key.id}/rotate`, { overlap_seconds: 3_600 });
  for (const [width, height] of [[360, 740], [640, 400]]) {
    const page = await signIn(server, admin.email, { viewport: { width, height } });
    const check = async (what) => {
      await assertSeen(page, dialog(page).locator('#sheet-title'), `${what}: title`);
      assert.equal(await dialog(page).evaluate((sheet) => sheet.scrollTop), 0, what);
      await assertSeen(page, dialog(page).locator('.buttons [data-cancel]'), `${what}: Cancel`);
    };
    for (const verb of ['Revoke', 'Disable', 'End old secret now', 'Rotate', 'Edit']) {
      await page.goto(`${server.url}/keys`);
      await (await menu(page, name)).getByText(verb, { exact: true }).click();
      await dialog(page).locator('#sheet-title').getByText(name).waitFor();
      await check(`${verb} at ${width}`);
      // The heading also stays visible with the focus on the last field.
      await page.keyboard.press('Shift+Tab');
      await assertSeen(page, dialog(page).locator('#sheet-title'), `${verb} at ${width}, later`);
      await page.keyboard.press('Escape');
    }
    await page.goto(`${server.url}/keys`);
    await row(page, name).getByRole('checkbox').check();
    await page.getByRole('button', { name: 'Revoke selected' }).click();
    await dialog(page).getByRole('heading', { name: 'Revoke 1 key?' }).waitFor();
    await check(`selected at ${width}`);
    await page.goto(`${server.url}/tenant/users`);
    await (await menu(page, member.email)).getByText('Suspend').click();
    await dialog(page).locator('#sheet-title').getByText(member.email).waitFor();
    await check(`suspend at ${width}`);
    await page.goto(`${server.url}/keys`);
    await page.getByRole('button', { name: 'Create API key' }).first().click();
    await dialog(page).locator('#sheet-title').waitFor();
    await check(`create at ${width}`);
    assertQuiet(page);
    await page.context().close();
  }
});

test('D-06 the last field can be reached and is not covered by the buttons', async () => {
  const tenant = await makeTenant(server, 'standard', { preset: 'standard', revoke: { confirm: 'phrase' } });
  const admin = tenant.user('admin');
  await tenant.key(admin.id, { name: 'covered' });
  const page = await signIn(server, admin.email, { viewport: { width: 640, height: 400 } });
  await page.goto(`${server.url}/keys`);
  await (await menu(page, 'covered')).getByText('Revoke', { exact: true }).click();
  await dialog(page).getByLabel(/^Type/).fill('REVOKE');
  await assertSeen(page, dialog(page).getByLabel(/^Type/), 'the phrase');
  await assertAccessible(page, 'revoke at 640×400');
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByText('was revoked').waitFor();
  await page.context().close();
});

/** Brightness of the darkest pixel where a field shows one of its characters, from 0 to 255. */
async function darkest(look, field, place) {
  const cell = await field.evaluate((element, place) => {
    const style = getComputedStyle(element);
    const context = document.createElement('canvas').getContext('2d');
    context.font = `${style.fontSize} ${style.fontFamily}`;
    const width = context.measureText('0').width;
    return { x: Number.parseFloat(style.paddingLeft) + Number.parseFloat(style.borderLeftWidth) + width * place + 1, width: width - 2, height: element.offsetHeight };
  }, place);
  const picture = (await field.screenshot()).toString('base64');
  return look.evaluate(async ([picture, { x, width, height }]) => {
    const image = new Image();
    image.src = `data:image/png;base64,${picture}`;
    await image.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: image.width, height: image.height });
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    const { data } = context.getImageData(Math.round(x), 3, Math.round(width), height - 6);
    return Math.min(...data.filter((_, at) => at % 4 === 0));
  }, [picture, cell]);
}

test('D-10 every character of the secret is painted on a screen of 1×, the underscore too', async () => {
  const tenant = await makeTenant(server, 'standard');
  const page = await signIn(server, tenant.user('admin').email, { deviceScaleFactor: 1, colorScheme: 'light' });
  const look = await (await (await browser()).newContext()).newPage();
  await page.goto(`${server.url}/keys/new?name=shown`);
  await page.getByRole('button', { name: 'Create API key' }).click();
  const field = dialog(page).locator('#secret');
  await field.evaluate((element) => { element.setSelectionRange(0, 0); element.blur(); });
  const secret = await field.inputValue();
  for (let place = 0; place < 12; place += 1) {
    const value = await darkest(look, field, place);
    assert.ok(value < 200, `${secret[place]} at ${place}: ${value}`);
  }
  assert.equal(secret[2], '_');
  await dialog(page).getByLabel('I saved it').check();
  await page.context().close();
});

test('D-08 ending the old secret shows the use of the old secret, not of the key', async () => {
  const tenant = await makeTenant(server, 'standard');
  const admin = tenant.user('admin');
  const key = await tenant.key(admin.id, { name: 'moving' });
  const use = (secret, ip) => server.call('POST', '/v1/verify', { key: secret, ip });
  for (let n = 0; n < 2; n += 1) await use(key.secret, '203.0.113.9');
  const rotated = (await tenant.call('POST', `/v1/api_keys/${key.id}/rotate`, { overlap_seconds: 3_600 })).body;
  for (let n = 0; n < 3; n += 1) await use(key.secret, '198.51.100.1');
  for (let n = 0; n < 10; n += 1) await use(rotated.secret, '198.51.100.2');
  const page = await signIn(server, admin.email);
  await page.goto(`${server.url}/keys/${key.id}`);
  const side = (word) => page.locator('section[aria-labelledby="pair-title"] tbody tr').filter({ hasText: word });
  assert.match(await side('Old').innerText(), new RegExp(`…${key.last_four}[\\s\\S]*\\b3 calls[\\s\\S]*198\\.51\\.100\\.1\\b`));
  assert.match(await side('New').innerText(), new RegExp(`…${rotated.last_four}[\\s\\S]*198\\.51\\.100\\.2\\b`));
  assert.ok(!/198\.51\.100\.2|203\.0\.113\.9/.test(await side('Old').innerText()));
  await page.getByRole('row', { name: /198\.51\.100\.1 with an old secret/ }).waitFor();
  await page.getByRole('button', { name: 'End now' }).click();
  const facts = await dialog(page).locator('.facts').innerText();
  assert.match(facts, new RegExp(`Old secret\\s+\\S+…${key.last_four}`));
  assert.match(facts, new RegExp(`New secret\\s+\\S+…${rotated.last_four}`));
  assert.match(facts, /Old, this hour\s+3 calls/);
  assert.match(facts, /Old, since rotating\s+3 calls/);
  assert.match(facts, /Old, used from\s+198\.51\.100\.1\n/);
  assert.ok(!/198\.51\.100\.2|203\.0\.113\.9/.test(facts), facts);
  await assertAccessible(page, 'end old secret');
  await page.context().close();
});
