// A server, users who sign in, and a browser that collects script errors and breaches of the content security policy.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import AxeBuilder from '@axe-core/playwright';
import { chromium } from 'playwright-core';

const binary = process.env.KEYREEVE_BIN ?? fileURLToPath(new URL('../../target/tested/keyreeve', import.meta.url));
const browserPath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
export const PASSWORD = 'correct horse battery';
const STANDARDS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

/** With KEYREEVE_E2E_POSTGRES every server has its own PostgreSQL database instead of SQLite. */
function newDatabase() {
  const postgres = process.env.KEYREEVE_E2E_POSTGRES;
  if (!postgres) return undefined;
  const name = `e2e_${randomBytes(6).toString('hex')}`;
  execFileSync('psql', ['-q', postgres, '-c', `CREATE DATABASE ${name}`]);
  return `${postgres.slice(0, postgres.lastIndexOf('/'))}/${name}`;
}

/** Drops the database, to free its disk space. */
function dropDatabase(url) {
  const [server, name] = [url.slice(0, url.lastIndexOf('/')), url.slice(url.lastIndexOf('/') + 1)];
  execFileSync('psql', ['-q', `${server}/postgres`, '-c', `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`]);
}

let numbers = 0;

function fakeTime() {
  const places = readdirSync('/usr/lib').map((name) => join('/usr/lib', name, 'faketime/libfaketime.so.1'));
  return places.find(existsSync);
}

/** Starts a server with an empty store, or with an existing one; `later` shifts its wall clock. */
export async function startServer({ data = mkdtempSync(join(tmpdir(), 'keyreeve-dashboard-')), later, database = newDatabase() } = {}) {
  const listeners = ['--listen', '--check-listen', '--ops-listen'].flatMap((flag) => [flag, '127.0.0.1:0']);
  if (database) listeners.push('--database', database);
  // The `faketime` command would outlive its child. Preloading its library has the same effect.
  const library = later && fakeTime();
  const env = later ? { ...process.env, LD_PRELOAD: library, FAKETIME: later, FAKETIME_DONT_FAKE_MONOTONIC: '1' } : process.env;
  const child = spawn(binary, ['serve', '--data', data, ...listeners], { stdio: ['ignore', 'pipe', 'ignore'], env });
  const said = {};
  for await (const line of createInterface({ input: child.stdout })) {
    if (line === 'ready') break;
    const [name, ...value] = line.split('=');
    said[name] = value.join('=');
  }
  const url = `http://${said.listen}`;
  return {
    url,
    data,
    firstAdminLink: said.first_admin_link,
    rootKey: said.root_key,
    /** Calls the API. Returns status and body. */
    async call(method, path, body, { tenant, key = said.root_key } = {}) {
      const headers = { authorization: `Bearer ${key}` };
      if (body !== undefined) headers['content-type'] = 'application/json';
      if (tenant) headers['keyreeve-tenant'] = tenant;
      const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
      return { status: answer.status, body: await answer.json().catch(() => null) };
    },
    /** Creates a user with a login through the command line, as an operator does. */
    user(email, role, tenant = 'default') {
      const args = ['users', 'create', email, '--tenant', tenant, '--role', role, '--password-stdin', '--data', data, '-o', 'json'];
      return JSON.parse(execFileSync(binary, args, { input: PASSWORD, stdio: ['pipe', 'pipe', 'pipe'] }).toString());
    },
    stop() {
      child.kill('SIGKILL');
      rmSync(data, { recursive: true, force: true });
      if (database) dropDatabase(database);
    },
    /** Stops the server and starts it with the same store at a later time. */
    async again(when) {
      child.kill('SIGKILL');
      await once(child, 'exit');
      return startServer({ data, later: when, database });
    },
  };
}

/** Creates a tenant with a preset. The result calls its API and creates its users and keys. */
export async function makeTenant(server, preset, policy = {}) {
  numbers += 1;
  const slug = `${preset}-${numbers}`;
  const made = await server.call('POST', '/v1/tenants', { slug, name: preset, preset });
  assert.equal(made.status, 201, JSON.stringify(made.body));
  if (Object.keys(policy).length > 0) {
    const put = await server.call('PUT', '/v1/policy', policy, { tenant: slug });
    assert.equal(put.status, 200, JSON.stringify(put.body));
  }
  return {
    slug,
    call: (method, path, body) => server.call(method, path, body, { tenant: slug }),
    user: (role) => {
      numbers += 1;
      const email = `${role}${numbers}@example.com`;
      return { ...server.user(email, role, slug), email };
    },
    async key(subject, fields = {}) {
      numbers += 1;
      const made = await server.call('POST', '/v1/api_keys', { name: `key ${numbers}`, subject, ...fields }, { tenant: slug });
      assert.equal(made.status, 201, JSON.stringify(made.body));
      return made.body;
    },
    /** Returns the status and the code of a verdict on a secret. */
    async use(secret) {
      const answer = await server.call('GET', '/v1/me', undefined, { key: secret });
      return answer.status === 200 ? '200' : `${answer.status} ${answer.body.code}`;
    },
  };
}

let shared;

/** The browser. It is started once. */
export async function browser() {
  assert.ok(browserPath, 'no Chromium: run scripts/setup');
  shared ??= await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
  return shared;
}

export async function closeBrowser() {
  await shared?.close();
  shared = undefined;
}

/** Opens a page that collects the browser's complaints: script errors and breaches of the content security policy. */
export async function openPage(options = {}) {
  const context = await (await browser()).newContext({ viewport: { width: 1280, height: 860 }, reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  const complaints = [];
  page.on('pageerror', (error) => complaints.push(`script: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    const isPolicy = /content security policy|trusted ?type|refused to|violat/i.test(text);
    if (isPolicy || (message.type() === 'error' && !/status of 4\d\d/.test(text))) complaints.push(text);
  });
  page.complaints = complaints;
  return page;
}

export async function signIn(server, email, options = {}) {
  const page = await openPage(options);
  await page.goto(`${server.url}/login`);
  await page.getByLabel('Email').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL(`${server.url}/`);
  return page;
}

/** The open dialog. */
export const dialog = (page) => page.locator('dialog[open]');

/** The row of a key. */
export const row = (page, name) => page.locator('tbody tr').filter({ hasText: name });

/** Opens the three-dot menu of a row and returns it. */
export async function menu(page, name) {
  await row(page, name).getByRole('button', { name: `Actions for ${name}` }).click();
  return page.locator('.menu:popover-open');
}

/** Asserts that axe finds nothing, in light and in dark. */
export async function assertAccessible(page, where) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    const { violations } = await new AxeBuilder({ page }).withTags(STANDARDS).analyze();
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join(' | ')}`);
    assert.deepEqual(found, [], `${where}, ${colorScheme}`);
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
}

/** Asserts that the page is not wider than its window. */
export async function assertNoSidewaysScroll(page, where) {
  const [inner, width] = await page.evaluate(() => [window.innerWidth, document.documentElement.scrollWidth]);
  assert.ok(width <= inner, `${where}: ${width} px in a window of ${inner}`);
}

export function assertQuiet(page) {
  assert.deepEqual(page.complaints, []);
}
