// What the suites of the console share: the page in a browser that notes whatever it should not do, and the replicas and provider behind it.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { launch } from './browser.mjs';

export const base = process.env.PROCESSOR_URL;
const provider = process.env.PROVIDER_URL;
const patience = 60_000;

// until waits for a condition that nothing signals.
export async function until(what, holds) {
  const end = Date.now() + patience;
  for (;;) {
    const got = await holds();
    if (got) return got;
    if (Date.now() > end) assert.fail(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export async function api(method, path, body) {
  const reply = await fetch(base + path, { method, body: body && JSON.stringify(body) });
  assert.ok(reply.ok, `${method} ${path}: ${reply.status}`);
  return reply.json();
}

// open lets the provider's answers through that hold at a gate.
export async function open(gate) {
  const reply = await fetch(`${provider}/gates/${gate}`, { method: 'POST' });
  assert.ok(reply.ok);
}

let browser;
export const start = async () => { browser = await launch(); };
export const stop = () => browser.close();

// visit opens the page in a new window. t's end looks at what the page did: it must have asked no other host, logged no error, and tried nothing that
// its policy forbids.
export async function visit(t, { hash = '', at = base, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const wrong = [];
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
  });
  context.on('request', (request) => { if (!request.url().startsWith(`${at}/`)) wrong.push(`request: ${request.url()}`); });
  context.on('console', (message) => { if (['error', 'warning'].includes(message.type())) wrong.push(`console: ${message.text()}`); });
  context.on('weberror', (error) => wrong.push(`script: ${error.error().stack}`));
  t.after(async () => {
    await context.close();
    assert.deepEqual(wrong.filter((line) => !(options.expected ?? []).some((pattern) => pattern.test(line))), []);
  });
  return tab(context, at, hash);
}

// tab opens one more page of the same window.
export async function tab(context, at, hash) {
  const page = await context.newPage();
  page.setDefaultTimeout(patience);
  await page.goto(`${at}/${hash}`);
  return page;
}

// send types a message and sends it with the keyboard; it is taken when the field is empty again.
export async function send(page, text) {
  const field = page.getByRole('textbox', { name: 'Message' });
  await field.fill(text);
  await field.press('Enter');
  await page.waitForFunction(() => document.getElementById('composer').value === '');
}

// chatOf is the id of the chat that is shown.
export const chatOf = (page) => until('a chat is shown', () => /#\/chat\/([\w-]+)$/.exec(page.url())?.[1]);

export const state = (page, name) => page.locator(`.chat-head .state[data-state=${name}]`).waitFor();

// says waits until the last answer is the text, or contains it.
export async function says(page, text, { whole = false } = {}) {
  await page.waitForFunction(([text, whole]) => {
    const got = [...document.querySelectorAll('.message.assistant .body')].at(-1)?.textContent ?? '';
    return whole ? got === text : got.includes(text);
  }, [text, whole]);
}

// counted is what the provider says for #tokens=n.
export const counted = (n) => Array.from({ length: n }, (_, i) => `w${i} `).join('');

// picture keeps what the page looks like, if a folder for that is given.
export async function picture(page, name) {
  const folder = process.env.PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  await page.screenshot({ path: join(folder, `${name}.png`) });
}
