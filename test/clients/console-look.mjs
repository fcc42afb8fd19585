// The console for everybody: by keyboard, on a phone, to a screen reader, in light and dark, with much to show.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';

import { api, base, chatOf, counted, open, picture, says, send, start, state, stop, tab, until, visit } from './lib/console.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

before(start);
after(stop);

// accessible runs axe on what is shown.
async function accessible(page) {
  await page.evaluate(`${axe}; 0`);
  const found = await page.evaluate(async () => (await axe.run()).violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(' ')}`));
  assert.deepEqual(found, []);
}

const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute('href') || document.activeElement.textContent);

test('everything is done by keyboard alone', async (t) => {
  const page = await visit(t);
  const keys = page.keyboard;
  await page.locator('.link[data-state=open]').waitFor();
  await keys.press('Tab');
  assert.equal(await focused(page), 'skip');
  await keys.press('Enter');
  assert.equal(await focused(page), 'composer');
  await keys.type('#tokens=20 #hold=5 #gate=keys');
  await keys.press('Enter');
  const id = await chatOf(page);
  await says(page, counted(5), { whole: true });
  await keys.press('Control+.');
  await state(page, 'interrupted');
  assert.equal(await focused(page), 'composer');
  await keys.type('j stays a letter in here?');
  await keys.press('Enter');
  await says(page, 'j stays a letter in here?', { whole: true });
  await state(page, 'idle');

  // The last message is written anew from the empty field, or from anywhere.
  await keys.press('ArrowUp');
  await page.getByRole('textbox', { name: 'Your message' }).waitFor();
  await keys.type(' No.');
  await keys.press('Enter');
  await says(page, 'j stays a letter in here? No.', { whole: true });
  await state(page, 'idle');
  assert.equal(await focused(page), 'composer');
  await keys.press('Escape');
  await keys.press('e');
  await page.getByRole('textbox', { name: 'Your message' }).waitFor();
  await keys.press('Escape');
  assert.equal(await focused(page), 'Edit');
  for (const next of ['Copy', 'Copy', 'Answer again']) { // of the message, of the answer
    await keys.press('Tab');
    assert.equal(await focused(page), next);
  }

  await keys.press('n');
  assert.equal(await focused(page), 'composer');
  await keys.type('another one');
  await keys.press('Shift+Enter');
  await keys.type('with a second line');
  await keys.press('Enter');
  await says(page, 'another one\nwith a second line', { whole: true });
  const other = await chatOf(page);
  assert.notEqual(other, id);

  await keys.press('Escape');
  await page.locator('.list li').nth(1).waitFor();
  await keys.press('j');
  assert.equal(await chatOf(page), id);
  assert.equal(await focused(page), `#/chat/${id}`);
  await keys.press('k');
  assert.equal(await chatOf(page), other);
  await keys.press('/');
  assert.equal(await focused(page), 'find');
  await keys.type(id);
  await keys.press('Enter');
  assert.equal(await chatOf(page), id);
  await keys.press('Escape');
  await keys.press('?');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor();
  await accessible(page);
  await keys.press('Escape');
  await page.getByRole('dialog', { name: 'Keyboard' }).waitFor({ state: 'hidden' });

  await page.getByRole('button', { name: 'Delete' }).focus();
  await keys.press('Enter');
  await page.getByRole('dialog', { name: 'Delete this chat?' }).waitFor();
  await keys.press('Escape');
  await page.getByRole('dialog', { name: 'Delete this chat?' }).waitFor({ state: 'hidden' });
  assert.equal((await api('GET', `/v1/chats/${id}`)).chat.id, id);
  await keys.press('Enter');
  await keys.press('Tab');
  await keys.press('Enter');
  await page.locator(`.list a[href="#/chat/${id}"]`).waitFor({ state: 'detached' });
});

for (const colorScheme of ['light', 'dark']) {
  test(`a screen reader has names for all of it, and there is contrast: ${colorScheme}`, async (t) => {
    const page = await visit(t, { colorScheme });
    await accessible(page);
    await send(page, `#tokens=20 #hold=10 #gate=axe-${colorScheme}`);
    await says(page, counted(10), { whole: true });
    await page.locator('.replicas .card').first().waitFor();
    await accessible(page);
    assert.equal(await page.locator('#scroll').getAttribute('aria-busy'), 'true');
    await open(`axe-${colorScheme}`);
    await state(page, 'idle');
    await page.getByRole('status').getByText('Answer complete. w0 w1').waitFor({ state: 'attached' });
    assert.equal(await page.locator('#scroll').getAttribute('aria-busy'), 'false');
    await page.getByRole('button', { name: 'Edit' }).click();
    await page.getByRole('textbox', { name: 'Your message' }).fill('something else');
    await accessible(page);
    await picture(page, `axe-editor-${colorScheme}`);
    await page.getByRole('button', { name: 'Cancel' }).click();
    await send(page, '#status=400');
    await state(page, 'error');
    await accessible(page);
    await page.locator('.message.assistant').first().hover();
    await page.getByRole('button', { name: 'Answer again' }).first().click();
    await page.getByRole('dialog', { name: 'Answer again from here?' }).waitFor();
    await accessible(page);
    await page.keyboard.press('Escape');
    await picture(page, `axe-${colorScheme}`);
    for (const name of ['Chats', 'Chat', 'Replicas and events']) {
      assert.equal(await page.getByRole(name === 'Chat' ? 'main' : 'complementary', { name, exact: true }).count(), 1);
    }
  });
}

test('a phone shows one thing at a time, and nothing sideways', async (t) => {
  const page = await visit(t, { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  const fits = async () => {
    const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(inner <= outer, `${inner} of ${outer} pixels`);
  };
  await fits();
  await picture(page, 'phone-chats');
  await page.getByRole('button', { name: 'New chat' }).tap();
  const word = 'incomprehensibilities'.repeat(20);
  await send(page, `${word}\n\n\`\`\`\n${word}\n\`\`\`\n`);
  await says(page, word);
  await state(page, 'idle');
  await fits();
  await picture(page, 'phone-chat');
  await accessible(page);
  await page.getByRole('button', { name: 'Edit' }).tap();
  await page.getByRole('textbox', { name: 'Your message' }).fill(word.repeat(9));
  await fits();
  await accessible(page);
  await picture(page, 'phone-editor');
  await page.getByRole('button', { name: 'Cancel' }).tap();
  // What waits in the queue leaves room for the answer.
  await send(page, '#tokens=40 #hold=30 #gate=phone');
  await says(page, counted(30), { whole: true });
  for (let i = 0; i < 12; i++) await api('POST', `/v1/chats/${await chatOf(page)}/messages`, { text: `${i}: ${word}` });
  await page.getByText('12 messages queued').waitFor();
  await page.locator('#queue li').nth(11).waitFor({ state: 'attached' });
  await fits();
  await accessible(page);
  await picture(page, 'phone-queue');
  assert.ok(await page.evaluate(() => document.getElementById('scroll').clientHeight) > 150);
  const [choice, button] = await Promise.all(['#busy', '#stop'].map((one) => page.locator(one).boundingBox()));
  assert.ok(choice.width > 60 && choice.x + choice.width <= button.x, `the choice ends at ${choice.x + choice.width}, the button begins at ${button.x}`);
  await open('phone');
  const tabs = page.getByRole('navigation', { name: 'Views' });
  await tabs.getByRole('button', { name: 'Replicas' }).tap();
  await page.locator('.replicas .card').first().waitFor();
  await fits();
  await picture(page, 'phone-replicas');
  await tabs.getByRole('button', { name: 'Chats' }).tap();
  await fits();
  await page.locator('.list a').first().tap();
  await page.getByRole('textbox', { name: 'Message' }).waitFor();
});

test('a long answer is whole, and laid out in pieces', async (t) => {
  const page = await visit(t);
  const long = 'All of this comes back, and it is long enough to matter. '.repeat(4500).trim();
  await page.getByRole('textbox', { name: 'Message' }).fill(long);
  await page.getByRole('button', { name: 'Send' }).click();
  await says(page, long, { whole: true });
  await state(page, 'idle');
  const pieces = await page.locator('.message.assistant .text > *').evaluateAll((all) => all.map((one) => one.textContent.length));
  assert.ok(pieces.length > 20 && Math.max(...pieces) < 9_000, `${pieces}`);
  const end = await page.evaluate(() => { const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight; });
  assert.ok(end < 60, `${end} pixels below what is shown`);
});

test('what is written from right to left is shown so, and code is not', async (t) => {
  const page = await visit(t);
  const hebrew = 'שלום עולם, זה טקסט בעברית.';
  await send(page, `${hebrew}\nand English.\n\n\`\`\`\nif (x) { return; }\n\`\`\`\n`);
  await says(page, 'and English.');
  await state(page, 'idle');
  await picture(page, 'right-to-left');
  // Where a text begins and ends: a range over some of its characters has a place in the page.
  const places = await page.evaluate(() => {
    const [text, code] = document.querySelectorAll('.message.assistant .text > *');
    const at = (node, from) => {
      const range = document.createRange();
      range.setStart(node.firstChild, from);
      range.setEnd(node.firstChild, from + 1);
      return range.getBoundingClientRect();
    };
    const box = text.getBoundingClientRect();
    const english = text.textContent.indexOf('and');
    return { full: box.right - at(text, 0).right, english: at(text, english).left - box.left, code: at(code, 0).left - code.getBoundingClientRect().left };
  });
  for (const [what, pixels] of Object.entries(places)) assert.ok(pixels >= 0 && pixels < 20, `${what}: ${pixels} pixels from the edge`);
});

test('a chat of two hundred messages opens at its end, and shows the earlier ones where they belong', async (t) => {
  await api('POST', '/v1/chats', { id: 'long' });
  for (let i = 0; i < 110; i++) {
    await api('POST', '/v1/chats/long/messages', { text: `message ${i} ${'and more '.repeat(i % 40)}` });
    if (i % 15 === 14) await until('the queue is empty', async () => (await api('GET', '/v1/chats/long')).chat.status === 'waiting');
  }
  await until('all are answered', async () => (await api('GET', '/v1/chats/long')).chat.status === 'waiting');
  const page = await visit(t, { hash: '#/chat/long' });
  await says(page, 'message 109');
  await state(page, 'idle');
  const scroll = page.locator('#scroll');
  await page.waitForFunction(() => { const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight < 2; });
  assert.equal(await page.locator('.turn').count(), 100);
  await scroll.evaluate((s) => { s.scrollTop = 0; });
  await page.getByRole('button', { name: 'Show earlier turns (10)' }).waitFor();
  const top = () => page.getByRole('region', { name: 'Turn 11', exact: true }).evaluate((turn) => turn.getBoundingClientRect().top);
  const before = await top();
  await page.getByRole('button', { name: 'Show earlier turns (10)' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.turn').length === 110);
  const moved = await top() - before;
  assert.ok(Math.abs(moved) < 60, `what was looked at moved by ${moved} pixels`); // the button that was above it is gone
  await page.getByRole('button', { name: 'Jump to the latest' }).click();
  await page.waitForFunction(() => { const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight < 2; });
});

test('a text is copied, and a browser that has no clipboard is no obstacle', async (t) => {
  const page = await visit(t, { permissions: ['clipboard-read', 'clipboard-write'] });
  await send(page, 'worth keeping');
  await says(page, 'worth keeping', { whole: true });
  await state(page, 'idle');
  const clipboard = () => page.evaluate(() => navigator.clipboard.readText());
  await page.locator('.message.assistant').getByRole('button', { name: 'Copy' }).click();
  await page.locator('.message.assistant').getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await clipboard(), 'worth keeping');
  await page.evaluate(() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); });
  await page.locator('#chat-head .copy').click();
  await until('the id is copied', async () => await clipboard() === await chatOf(page));
});

test('many chats come by the page, and are filtered', async (t) => {
  for (let i = 0; i < 120; i++) await api('POST', '/v1/chats', { id: `many-${i}`, title: `Many ${i}` });
  const page = await visit(t);
  const rows = page.locator('.list li');
  await page.waitForFunction(() => document.querySelectorAll('.list li').length === 50);
  await page.getByRole('button', { name: 'Load more' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.list li').length === 100);
  await page.getByRole('searchbox').fill('many-11');
  await page.waitForFunction(() => document.querySelectorAll('.list li').length === 10);
  assert.equal(await rows.first().locator('.title').textContent(), 'Many 119');
  await page.getByRole('searchbox').fill('');
  await page.getByRole('button', { name: 'Error', exact: true }).click();
  await page.waitForFunction(() => [...document.querySelectorAll('.list .state')].every((one) => one.dataset.state === 'error'));
  const other = await tab(page.context(), base, '#/new');
  await send(other, '#status=400');
  await page.getByRole('button', { name: 'Idle', exact: true }).click();
  await page.waitForFunction(() => document.querySelectorAll('.list li').length === 50);
});
