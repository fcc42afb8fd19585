// The console in a browser, against replicas that answer, stop, fail and die.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { api, base, chatOf, counted, open, picture, says, send, start, state, stop, tab, visit } from './lib/console.mjs';

before(start);
after(stop);

test('a message is sent, its answer streams, and a second tab sees the same', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=30 #hold=10 #gate=second-tab');
  const id = await chatOf(page);
  await says(page, counted(10), { whole: true });
  await state(page, 'answering');
  const second = await tab(page.context(), base, `#/chat/${id}`);
  await says(second, counted(10), { whole: true });
  await picture(page, 'streaming');
  await open('second-tab');
  for (const one of [page, second]) {
    await says(one, counted(30), { whole: true });
    await state(one, 'idle');
    assert.equal(await one.locator('.message.assistant').count(), 1);
  }
  await page.locator(`.list a[aria-current=page][href="#/chat/${id}"] .state[data-state=idle]`).waitFor();
});

test('a turn is stopped, and keeps what was said', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=30 #hold=10 #gate=stopped');
  await says(page, counted(10), { whole: true });
  await page.getByRole('button', { name: 'Stop' }).click();
  await state(page, 'interrupted');
  await page.locator('.message.assistant').getByText('Stopped', { exact: true }).waitFor();
  await says(page, counted(10), { whole: true });
  await page.getByRole('button', { name: 'Stop' }).waitFor({ state: 'hidden' });
});

test('messages sent meanwhile are queued, and answered in their order', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=3 #hold=2 #gate=queue');
  await says(page, counted(2), { whole: true });
  await send(page, 'first of the queue');
  await send(page, 'second of the queue');
  await page.getByText('2 messages queued').waitFor();
  await page.locator('.waiting').getByText('first of the queue').waitFor();
  await picture(page, 'queued');
  await open('queue');
  await says(page, 'second of the queue');
  await state(page, 'idle');
  await page.getByText('2 messages queued').waitFor({ state: 'hidden' });
  const said = await page.locator('.message .body').allTextContents();
  assert.deepEqual(said, [
    '#tokens=3 #hold=2 #gate=queue', counted(3), 'first of the queue', 'first of the queue', 'second of the queue', 'second of the queue',
  ]);
});

test('what waits in the queue is seen by everybody, also after a reload, until it is taken', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=3 #hold=2 #gate=seen');
  const id = await chatOf(page);
  await says(page, counted(2), { whole: true });
  const second = await tab(page.context(), base, `#/chat/${id}`);
  await says(second, counted(2), { whole: true });
  const wait = (one, ...texts) => one.waitForFunction((texts) => JSON.stringify([...document.querySelectorAll('#queue li')].map((li) => li.textContent)) === texts, JSON.stringify(texts));
  const theirs = '#tokens=3 #hold=1 #gate=taken';
  await send(second, theirs);
  await api('POST', `/v1/chats/${id}/messages`, { text: 'from no tab' });
  for (const one of [page, second]) await wait(one, theirs, 'from no tab');
  await send(page, 'from this one');
  await page.reload();
  for (const one of [page, second]) {
    await wait(one, theirs, 'from no tab', 'from this one');
    await one.getByRole('status').getByText('3 messages queued').waitFor();
  }
  await picture(second, 'queue');
  await open('seen');
  for (const one of [page, second]) await wait(one, 'from no tab', 'from this one');
  await open('taken');
  for (const one of [page, second]) {
    await says(one, 'from this one', { whole: true });
    await wait(one);
    await one.locator('#waiting').waitFor({ state: 'hidden' });
    await one.locator('.list a[aria-current=page] .meta').getByText('openai/test').waitFor(); // and no longer how many wait
  }
});

test('a message that interrupts stops the answer and is answered next', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=30 #hold=5 #gate=interrupting');
  await says(page, counted(5), { whole: true });
  await page.getByLabel('While it answers').selectOption('interrupt');
  await send(page, 'something else');
  await says(page, 'something else', { whole: true });
  await state(page, 'idle');
  await page.getByText('Stopped', { exact: true }).waitFor();
});

test('an error is shown with its cause, and tried again', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=5 #status=400 #times=1');
  await state(page, 'error');
  await page.locator('.failure').getByText('bad request').waitFor();
  await page.locator('.list a[aria-current=page] .state[data-state=error]').waitFor();
  await picture(page, 'error');
  await page.getByRole('button', { name: 'Try again' }).click();
  await says(page, counted(5), { whole: true });
  await state(page, 'idle');
  await page.locator('.failure').waitFor({ state: 'detached' });
});

test('a call that is tried again says when, and withdraws what was said', async (t) => {
  const page = await visit(t);
  await send(page, 'hello'); // from here on the page hears what happens, and is not told of it later
  await says(page, 'hello', { whole: true });
  await state(page, 'idle');
  await send(page, '#tokens=20 #cut=10 #times=1');
  await page.locator('.note').getByText('Attempt 1 failed').waitFor();
  await says(page, counted(20), { whole: true });
  await state(page, 'idle');
  assert.match(await page.locator('details.void summary').textContent(), /withdrawn$/);

  await send(page, '#tokens=4 #status=429 #retry-after=3 #times=1');
  await page.locator('.chat-head .state').getByText(/^Retrying at \d/).waitFor();
  await picture(page, 'retrying');
  await says(page, counted(4), { whole: true });
});

test('a replica is killed, the chat recovers, and the page tells how', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=80 #first=1s #hold=40 #gate=recovery');
  const id = await chatOf(page);
  await says(page, counted(40), { whole: true });
  const { chat } = await api('GET', `/v1/chats/${id}`);
  const { workers } = await api('GET', '/v1/workers');
  const owner = workers.find((worker) => worker.id === chat.worker);
  process.kill(owner.pid, 'SIGKILL');

  await page.locator('.replicas .card').filter({ hasText: `pid ${owner.pid}` }).locator('[data-state=lost]').waitFor();
  await page.locator('details.void summary').getByText(`${owner.name} was lost`).waitFor();
  await picture(page, 'recovering');
  assert.equal(await page.locator('details.void del').textContent(), counted(40));
  await page.locator('.note').getByText(new RegExp(`^${owner.name} was lost, \\S+ took over`)).waitFor();
  await says(page, counted(40), { whole: true });
  assert.equal(await page.locator('.message.assistant').count(), 1);
  await picture(page, 'recovered');
  await page.locator('#events').getByText('recovered').first().waitFor();
  await page.locator('.head-sub').getByText(/recovered 1×/).waitFor(); // of the turn that is open, the row forgets it when that ends
  await open('recovery');
  await says(page, counted(80), { whole: true });
  await state(page, 'idle');
});

test('a replica that freezes is said to be silent, and no more when it wakes up', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=80 #hold=40 #gate=frozen');
  await says(page, counted(40), { whole: true });
  const { chat } = await api('GET', `/v1/chats/${await chatOf(page)}`);
  const { workers } = await api('GET', '/v1/workers');
  const owner = workers.find((worker) => worker.id === chat.worker);
  process.kill(owner.pid, 'SIGSTOP');
  try {
    await page.locator('.now').getByText(`${owner.name} has not been heard of for`).waitFor();
    await page.locator('.chat-head .state').getByText('Replica silent').waitFor();
    await picture(page, 'silent');
  } finally {
    process.kill(owner.pid, 'SIGCONT');
  }
  await open('frozen');
  await says(page, counted(80), { whole: true });
  await state(page, 'idle');
});

test('what is said is text, whatever it looks like', async (t) => {
  const page = await visit(t);
  const nasty = '<img src=x onerror="window.hacked = 1"><script>window.hacked = 1</script><svg onload="window.hacked=1"> &amp; <b>bold</b>';
  await send(page, nasty);
  await says(page, nasty, { whole: true });
  await state(page, 'idle');
  assert.equal(await page.locator('.message.user .body').textContent(), nasty);
  assert.equal(await page.locator('.chat-head h2').textContent(), nasty.slice(0, 60) + '…');
  assert.equal(await page.locator(':is(.log, .list, .events) :is(img, script, svg, b)').count(), 0);
  assert.equal(await page.evaluate(() => window.hacked), undefined);

  const code = 'Look:\n\n```html\n<script>window.hacked = 1</script>\n```\nand `inline`';
  await send(page, code);
  await page.waitForFunction(() => document.querySelectorAll('.message.assistant pre').length === 1);
  await says(page, 'and `inline`');
  assert.equal(await page.locator('.message.assistant pre').textContent(), '<script>window.hacked = 1</script>');
});

test('a chat that somebody else deletes is gone here too', async (t) => {
  const page = await visit(t, { expected: [/status of 404/] }); // it may ask for the chat just when that has gone
  await send(page, 'soon forgotten');
  const id = await chatOf(page);
  await state(page, 'idle');
  await api('DELETE', `/v1/chats/${id}`);
  await page.getByText('This chat was deleted.').waitFor();
  await page.locator(`.list a[href="#/chat/${id}"]`).waitFor({ state: 'detached' });
});

test('a chat that is deleted before anything was heard of it is gone too', async (t) => {
  const page = await visit(t, { expected: [/status of 404/] });
  const { chat: { id } } = await api('POST', '/v1/chats', {});
  await page.route(`**/${id}/events`, async (route) => {
    await state(page, 'idle');
    await api('DELETE', `/v1/chats/${id}`);
    await route.continue();
  }, { times: 1 });
  await page.goto(`${base}/#/chat/${id}`);
  await page.getByText('This chat was deleted.').waitFor();
});

test('a chat that there is none of is said to be none', async (t) => {
  const page = await visit(t, { hash: '#/chat/nosuch', expected: [/status of 404/] });
  await page.getByText('There is no chat “nosuch”.').waitFor();
});
