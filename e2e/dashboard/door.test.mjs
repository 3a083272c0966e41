// Signing in and out, sessions that end, forged and outdated forms, pages of other tenants, typed text as text.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { PASSWORD, assertQuiet, closeBrowser, dialog, makeTenant, openPage, row, signIn, startServer } from './world.mjs';

let server;
before(async () => { server = await startServer(); });
after(async () => { await closeBrowser(); server.stop(); });

test('a link that works once creates the first administrator', async () => {
  const page = await openPage();
  await page.goto(server.firstAdminLink);
  await page.getByLabel('Email').fill('first@example.com');
  await page.getByLabel('Password', { exact: true }).fill('short');
  await page.getByLabel('Password once more').fill('short');
  await page.getByRole('button', { name: /Set password/ }).evaluate((button) => { button.form.noValidate = true; });
  await page.getByRole('button', { name: /Set password/ }).click();
  await page.getByRole('alert').getByText('must have from 8').waitFor();
  assert.equal(await page.getByLabel('Email').inputValue(), 'first@example.com');
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByLabel('Password once more').fill(PASSWORD);
  await page.getByRole('button', { name: /Set password/ }).click();
  await page.waitForURL(`${server.url}/`);
  await page.getByRole('heading', { name: 'Home' }).waitFor();
  assert.equal((await page.goto(server.firstAdminLink)).status(), 410);
  assertQuiet(page);
  await page.context().close();
});

test('a wrong password and an unknown address get the same answer, and guessing is limited', async () => {
  const page = await openPage();
  const guess = async (email) => {
    await page.goto(`${server.url}/login`);
    await page.getByLabel('Email').fill(email);
    await page.getByLabel('Password').fill('wrong password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    assert.equal(await page.getByLabel('Email').inputValue(), email);
    return page.getByRole('alert').innerText();
  };
  assert.equal(await guess('first@example.com'), await guess('nobody@example.com'));
  const csrf = await page.locator('input[name="csrf"]').inputValue();
  const form = { csrf, email: 'nobody@example.com', password: 'wrong password' };
  const guesses = Array.from({ length: 40 }, () => page.request.post(`${server.url}/login`, { form, timeout: 120_000 }));
  const answers = await Promise.all(guesses);
  assert.deepEqual([...new Set(answers.map((answer) => answer.status()))].sort(), [401, 429]);
  const stopped = answers.find((answer) => answer.status() === 429);
  assert.equal(stopped.headers()['retry-after'], '60');
  assert.match(await stopped.text(), /too many attempts[\s\S]*value="nobody@example.com"/);
  await page.context().close();
});

test('the session cookie is for this host only, unreadable for scripts, and new at each login', async () => {
  const tenant = await makeTenant(server, 'standard');
  const { email } = tenant.user('member');
  const page = await signIn(server, email);
  const cookie = async () => (await page.context().cookies()).find(({ name }) => name === '__Host-keyreeve');
  const first = await cookie();
  assert.deepEqual([first.httpOnly, first.secure, first.sameSite, first.path], [true, true, 'Lax', '/']);
  const other = await signIn(server, email);
  await page.goto(`${server.url}/account`);
  await page.getByRole('button', { name: 'Sign out everywhere else' }).click();
  await page.getByText('1 other session ended').waitFor();
  await other.goto(`${server.url}/keys`);
  assert.match(other.url(), /\/login\?next=%2Fkeys/);
  await page.getByRole('button', { name: /User menu/ }).click();
  await page.getByRole('button', { name: 'Sign out', exact: true }).click();
  await page.getByText('You are signed out').waitFor();
  // The old cookie is no longer valid.
  await page.context().addCookies([first]);
  await page.goto(`${server.url}/keys`);
  assert.match(page.url(), /\/login/);
  await page.context().close();
  await other.context().close();
});

test('an expired session in the middle of a dialog: signing in leads back to the form as it was filled in', async () => {
  const tenant = await makeTenant(server, 'standard');
  const { email } = tenant.user('member');
  const page = await signIn(server, email);
  await page.goto(`${server.url}/keys`);
  await page.getByRole('button', { name: 'Create API key' }).first().click();
  await dialog(page).getByLabel('Name').fill('half way');
  await dialog(page).getByLabel('Description').fill('kept');
  await page.context().clearCookies({ name: '__Host-keyreeve' });
  await dialog(page).getByRole('button', { name: 'Create API key' }).click();
  await page.getByText('Your session has ended').waitFor();
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('heading', { name: 'Create API key' }).waitFor();
  assert.equal(await page.getByLabel('Name').inputValue(), 'half way');
  assert.equal(await page.getByLabel('Description').inputValue(), 'kept');
  assert.equal((await tenant.call('GET', '/v1/api_keys')).body.total_count, 0);
  await page.context().close();
});

test('forged forms change nothing and get an explanation: no CSRF token, a wrong one, another site', async () => {
  const tenant = await makeTenant(server, 'standard');
  const user = tenant.user('member');
  const key = await tenant.key(user.id, { name: 'safe' });
  const page = await signIn(server, user.email);
  await page.goto(`${server.url}/keys`);
  const csrf = await page.locator('input[name="csrf"]').first().inputValue();
  const send = (form, headers = {}) => page.request.post(`${server.url}/keys/${key.id}/revoke`, { form, headers, maxRedirects: 0 });
  const cross = { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  for (const [form, headers] of [[{ reason: 'x' }], [{ reason: 'x', csrf: 'f'.repeat(32) }], [{ reason: 'x', csrf: '' }], [{ reason: 'x', csrf }, cross]]) {
    const answer = await send(form, headers);
    assert.equal(answer.status(), 403);
    assert.match(await answer.text(), /FORM_NOT_OURS/);
  }
  assert.match(await (await send({ reason: 'my words' })).text(), new RegExp(`/keys/${key.id}/revoke\\?reason=my\\+words`));
  assert.equal(await tenant.use(key.secret), '200');
  const asText = await page.request.post(`${server.url}/keys/${key.id}/revoke`, { data: `csrf=${csrf}`, headers: { 'content-type': 'text/plain' } });
  assert.equal(asText.status(), 415);
  assert.equal((await page.request.get(`${server.url}/keys/${key.id}/revoke`)).status(), 200);
  assert.equal(await tenant.use(key.secret), '200', 'asking by GET changes nothing');
  await page.context().close();
});

test('an outdated page reports that the key was revoked elsewhere', async () => {
  const tenant = await makeTenant(server, 'standard');
  const user = tenant.user('member');
  const key = await tenant.key(user.id, { name: 'stale' });
  const page = await signIn(server, user.email);
  await page.goto(`${server.url}/keys/${key.id}/disable`);
  await tenant.call('POST', `/v1/api_keys/${key.id}/revoke`, {});
  await page.getByRole('button', { name: 'Disable key' }).click();
  await page.getByRole('alert').getByText(/“stale” was revoked already, .* by root key/).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Disable key' }).count(), 0);
  assertQuiet(page);
  await page.context().close();
});

test('another tenant’s key, an unknown id, a wrong role and a wrong address each get an error page', async () => {
  const [one, other] = [await makeTenant(server, 'standard'), await makeTenant(server, 'standard')];
  const key = await one.key('user_1', { name: 'of one' });
  const page = await signIn(server, other.user('admin').email);
  const nowhere = [`/keys/${key.id}`, `/keys/${key.id}/revoke`, `/keys/${key.id}/rotate`, `/keys/ak_${'0'.repeat(32)}`, '/keys/nonsense', `/keys/${key.id}/nonsense`, '/nonsense', '/tenant/users/user_x/remove'];
  for (const path of nowhere) {
    const answer = await page.goto(server.url + path);
    assert.equal(answer.status(), 404, path);
    assert.match(await page.content(), /NOT_FOUND/, path);
    assert.match(answer.headers()['content-type'], /text\/html/);
  }
  await page.context().close();
  const member = await signIn(server, other.user('member').email);
  for (const path of ['/tenant/keys', '/tenant/keys/new', '/tenant/check-policies', '/tenant/users', '/audit', '/audit/export', '/propagation']) {
    assert.equal((await member.goto(server.url + path)).status(), 403, path);
  }
  await member.context().close();
});

test('P-43 a session ends after four idle hours; before that, creating a key requires the password again', async () => {
  const started = await startServer();
  const tenant = await makeTenant(started, 'standard');
  const { id, email } = tenant.user('member');
  const key = await tenant.key(id, { name: 'there' });
  const page = await signIn(started, email);
  await page.goto(`${started.url}/keys/new`);
  assert.equal(await page.getByLabel('Your password').count(), 0, 'it was given just now');
  const soon = await started.again('+20m');
  await page.goto(`${soon.url}/keys/new`);
  await page.getByLabel('Name').fill('later');
  await page.getByLabel('Your password').fill('not my password');
  await page.getByRole('button', { name: 'Create API key' }).click();
  await page.getByRole('alert').getByText('That is not your password').waitFor();
  assert.equal(await page.getByLabel('Name').inputValue(), 'later');
  await page.goto(`${soon.url}/keys/${key.id}/revoke`);
  await page.getByRole('button', { name: 'Revoke Key' }).click();
  await page.getByText('was revoked').waitFor();
  await page.goto(`${soon.url}/keys/new?name=later`);
  await page.getByLabel('Your password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Create API key' }).click();
  await dialog(page).locator('#secret').waitFor();
  await dialog(page).getByLabel('I saved it').check();
  const late = await soon.again('+5h');
  await page.goto(`${late.url}/keys`);
  assert.match(page.url(), /\/login/);
  await page.context().close();
  late.stop();
});

test('every address redirects a visitor without a session to the sign-in page and changes nothing', async () => {
  const id = `ak_${'0'.repeat(32)}`;
  const user = `user_${'0'.repeat(32)}`;
  const pages = ['/', '/keys', '/keys/new', '/keys/selected', `/keys/${id}`, `/keys/${id}/first-use`, `/keys/${id}/rotate`, `/keys/${id}/edit`, `/keys/${id}/revoke`, '/tenant/keys', '/tenant/keys/new', '/tenant/policy', '/tenant/check-policies', '/tenant/check-policies/default/edit', '/tenant/users', `/tenant/users/${user}/remove`, '/audit', '/audit/export', '/propagation', '/account'];
  const forms = ['/keys/search', '/keys/new', '/keys/selected', `/keys/${id}/rotate`, `/keys/${id}/edit`, `/keys/${id}/revoke`, '/tenant/keys/search', '/tenant/keys/new', '/tenant/policy', '/tenant/check-policies', '/tenant/check-policies/default/edit', '/tenant/users', `/tenant/users/${user}/remove`, '/audit/verify', '/account/password', '/account/preferences', '/logout', '/logout/everywhere'];
  for (const [method, paths] of [['GET', pages], ['POST', forms]]) {
    for (const path of paths) {
      const body = method === 'POST' ? new URLSearchParams({ name: 'x' }) : undefined;
      const answer = await fetch(server.url + path, { method, body, redirect: 'manual', headers: { cookie: '__Host-keyreeve=AAAAAAAAAAAAAAAAAAAAAA' } });
      assert.equal(answer.status, 303, `${method} ${path}`);
      assert.match(answer.headers.get('location'), /^\/login\?next=/, `${method} ${path}`);
    }
  }
  for (const path of ['/login', '/setup']) {
    const answer = await fetch(server.url + path, { method: 'POST', body: new URLSearchParams({ email: 'a@example.com', password: 'x', token: 'x' }) });
    assert.equal(answer.status, 403, path);
  }
});

test('every page forbids foreign scripts, framing and caching', async () => {
  for (const path of ['/login', '/nonsense']) {
    const answer = await fetch(server.url + path, { headers: { accept: 'text/html' } });
    const policy = answer.headers.get('content-security-policy');
    for (const rule of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) assert.ok(policy.includes(rule), `${path}: ${rule}`);
    assert.ok(!policy.includes('unsafe'));
    assert.equal(answer.headers.get('cache-control'), 'no-store');
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('cross-origin-opener-policy'), 'same-origin');
  }
});

test('names and descriptions are shown as text, whatever they contain', async () => {
  const corpus = [
    '<script>window.broken=1</script>', '"><img src=x onerror=window.broken=1>', "'><svg onload=window.broken=1>",
    'javascript:window.broken=1', '</title><script>window.broken=1</script>', '{{7*7}}${7*7}<%= 7*7 %>', '&lt;b&gt;', '<a href="javascript:window.broken=1">x</a>',
    '</textarea><script>window.broken=1</script>', '" autofocus onfocus=window.broken=1 x="', '\u{1f511} 鍵 مفتاح', '宽'.repeat(255),
  ];
  const tenant = await makeTenant(server, 'standard');
  const user = tenant.user('admin');
  for (const text of corpus) await tenant.key(user.id, { name: text, description: text });
  const page = await signIn(server, user.email);
  for (const width of [1280, 800, 320]) {
    await page.setViewportSize({ width, height: 800 });
    for (const path of ['/keys', '/tenant/keys', '/', '/audit']) {
      await page.goto(server.url + path);
      assert.equal(await page.evaluate(() => window.broken), undefined, path);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      assert.ok(wide <= 0, `${path} at ${width} is ${wide} px too wide`);
    }
    await page.goto(`${server.url}/keys`);
    const names = await page.locator('.keys .name').allInnerTexts();
    assert.deepEqual(new Set(names), new Set(corpus));
  }
  const { data } = (await tenant.call('GET', '/v1/api_keys?limit=100')).body;
  for (const key of data) {
    for (const verb of ['', '/revoke', '/rotate', '/edit', '/disable']) {
      await page.goto(`${server.url}/keys/${key.id}${verb}`);
      assert.equal(await page.evaluate(() => window.broken), undefined, key.name);
      if (verb === '/edit') assert.equal(await page.getByLabel('Description').inputValue(), key.description);
    }
  }
  assertQuiet(page);
  await page.context().close();
});

test('ten thousand keys are listed quickly', async () => {
  const tenant = await makeTenant(server, 'standard');
  const user = tenant.user('admin');
  for (let batch = 0; batch < 10; batch += 1) {
    const items = Array.from({ length: 1000 }, (_, n) => ({ name: `key ${batch * 1000 + n}`, subject: `user_${n}` }));
    assert.equal((await tenant.call('POST', '/v1/api_keys/batch', { items })).status, 201);
  }
  const page = await signIn(server, user.email);
  const times = [];
  for (const query of ['', '?page=200', '?query=999', '?unused=30', '?expiring=7', '?state=all']) {
    const began = performance.now();
    const answer = await page.request.get(`${server.url}/tenant/keys${query}`);
    times.push(`${query || 'first'} ${Math.round(performance.now() - began)} ms`);
    assert.equal(answer.status(), 200);
  }
  await page.goto(`${server.url}/tenant/keys?page=400`);
  await row(page, 'key 0').waitFor();
  console.log(`list of 10 000 keys: ${times.join(', ')}`);
  await page.context().close();
});
