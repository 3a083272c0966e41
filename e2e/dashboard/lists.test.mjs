// Lists: paging, empty states and filters; and the owner of a new key.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, assertQuiet, closeBrowser, dialog, makeTenant, menu, row, signIn, startServer } from './world.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });

const EMPTY = /No API keys yet|Nothing has happened yet/;

/** A tenant with keys, and an administrator with ten keys per page. */
async function withKeys(count, owner) {
  const tenant = await makeTenant(server, 'standard');
  const admin = tenant.user('admin');
  for (let n = 1; n <= count; n += 1) await tenant.key(owner ?? admin.id, { name: `key number ${n}.` });
  const page = await signIn(server, admin.email);
  await page.context().addCookies([{ name: 'keyreeve_page_size', value: '10', url: server.url }]);
  return { tenant, admin, page };
}

test('D-02 a page number past the end shows the last page that has keys, in both lists', async () => {
  const { page } = await withKeys(21);
  for (const list of ['/keys', '/tenant/keys']) {
    for (const number of ['4', '1000', '99999999999']) {
      await page.goto(`${server.url}${list}?page=${number}`);
      await page.getByText('21–21 of 21').first().waitFor();
      await row(page, 'key number 1.').waitFor();
      assert.ok(!EMPTY.test(await page.locator('main').innerText()));
      assert.equal(await page.getByRole('link', { name: 'Next' }).count(), 0);
    }
    await page.getByRole('link', { name: 'Previous' }).click();
    await page.getByText('11–20 of 21').first().waitFor();
    // A page that begins after the last key.
    await page.goto(`${server.url}${list}?after=ak_${'0'.repeat(32)}`);
    await page.getByText('21–21 of 21').first().waitFor();
  }
  assertQuiet(page);
  await page.context().close();
});

test('D-02 revoking the only key of the last page leads to the page before it, with the message', async () => {
  const { page } = await withKeys(11);
  await page.goto(`${server.url}/keys?page=2`);
  await (await menu(page, 'key number 1.')).getByText('Revoke').click();
  await dialog(page).getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByText('“key number 1.” was revoked').waitFor();
  await page.getByText('1–10 of 10').first().waitFor();
  assert.ok(!EMPTY.test(await page.locator('main').innerText()));
  await page.context().close();
});

test('D-02 a filter without matches can be cleared; no keys and no usable keys have different texts', async () => {
  const { page, tenant } = await withKeys(11);
  await page.goto(`${server.url}/keys?query=nothing&page=3`);
  await page.getByRole('heading', { name: 'No key matches' }).waitFor();
  await page.getByRole('link', { name: 'Clear filters' }).last().click();
  await page.getByText('1–10 of 11').first().waitFor();
  await page.goto(`${server.url}/keys?query=number%2011&page=7`);
  await page.getByText('1–1 of 1').first().waitFor();
  const keys = (await tenant.call('GET', '/v1/api_keys?limit=100')).body.data;
  for (const { id } of keys) await tenant.call('POST', `/v1/api_keys/${id}/revoke`, {});
  await page.goto(`${server.url}/keys?page=2`);
  await page.getByRole('heading', { name: 'No key works now' }).waitFor();
  await assertAccessible(page, 'no key works');
  await page.getByRole('link', { name: 'Show all keys' }).click();
  await page.getByText('1–10 of 11').first().waitFor();
  await page.context().close();
  const { page: fresh } = await withKeys(0);
  await fresh.goto(`${server.url}/keys?page=9`);
  await fresh.getByRole('heading', { name: 'No API keys yet' }).waitFor();
  await fresh.context().close();
});

test('D-02 the audit log links to older entries only if there are some, and shows where it begins', async () => {
  const { page } = await withKeys(60);
  await page.goto(`${server.url}/audit?action=key.created`);
  await page.getByRole('link', { name: 'Older entries' }).click();
  assert.equal(await page.locator('.entries > li').count(), 10);
  assert.equal(await page.getByRole('link', { name: 'Older entries' }).count(), 0);
  await page.goto(`${server.url}/audit?before=1`);
  await page.getByRole('heading', { name: 'No older entries' }).waitFor();
  assert.ok(!EMPTY.test(await page.locator('main').innerText()));
  await page.getByRole('link', { name: 'Newest entries' }).click();
  await page.locator('.entries > li').first().waitFor();
  await page.context().close();
  const exact = await withKeys(50);
  await exact.page.goto(`${server.url}/audit?action=key.created`);
  assert.equal(await exact.page.locator('.entries > li').count(), 50);
  assert.equal(await exact.page.getByRole('link', { name: 'Older entries' }).count(), 0);
  await exact.page.goto(`${server.url}/audit?action=key.rotated`);
  await exact.page.getByRole('heading', { name: 'No entry matches' }).waitFor();
  await exact.page.getByRole('link', { name: 'Clear filters' }).last().waitFor();
  await exact.page.context().close();
});

for (const javaScriptEnabled of [true, false]) {
  test(`D-03 ${javaScriptEnabled ? 'with' : 'without'} script: an address without a user creates no key until its box is ticked`, async () => {
    const tenant = await makeTenant(server, 'standard');
    const member = tenant.user('member');
    const page = await signIn(server, tenant.user('admin').email, { javaScriptEnabled });
    const count = async () => (await tenant.call('GET', '/v1/api_keys')).body.total_count;
    const box = page.getByLabel('Create the key for it anyway');
    await page.goto(`${server.url}/tenant/keys/new?name=ci&owner=tyop@example.com`);
    assert.equal(await box.count(), 0, 'not before it is sent');
    const send = () => page.getByRole('button', { name: 'Create API key' }).click();
    await send();
    await page.locator('#owner-error').getByText('No user of this tenant has this address').waitFor();
    assert.equal(await page.locator('#owner').getAttribute('aria-invalid'), 'true');
    if (javaScriptEnabled) await assertAccessible(page, 'an owner who is no user');
    assert.equal(await count(), 0);
    await send();
    await page.locator('#owner-error').waitFor();
    assert.equal(await count(), 0, 'sent again without the tick');
    await box.check();
    await page.getByLabel('Owner').fill('another@example.com');
    await send();
    await page.locator('#owner-error').waitFor();
    assert.equal(await count(), 0, 'the tick was for another address');
    assert.ok(!(await box.isChecked()));
    await box.check();
    await send();
    await page.locator('#secret').waitFor();
    const [key] = (await tenant.call('GET', '/v1/api_keys')).body.data;
    assert.equal(key.subject, 'another@example.com');
    // A user's address, in any case, and an id that is not an address are accepted without the tick.
    await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
    const other = await signIn(server, tenant.user('admin').email, { javaScriptEnabled });
    for (const [owner, subject] of [[member.email.toUpperCase(), member.id], ['org_northwind', 'org_northwind']]) {
      await other.goto(`${server.url}/tenant/keys/new?name=k&owner=${owner}`);
      await other.getByRole('button', { name: 'Create API key' }).click();
      await other.locator('#secret').waitFor();
      const found = (await tenant.call('GET', `/v1/api_keys?subject=${subject}`)).body.data;
      assert.equal(found.length, 1, owner);
    }
    await page.context().close();
    await other.context().close();
  });
}
