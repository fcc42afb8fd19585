// Writing an earlier message anew and having it answered again in the console, whatever happens meanwhile.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { api, base, chatOf, counted, open, picture, says, send, start, state, stop, tab, until, visit } from './lib/console.mjs';

before(start);
after(stop);

const editor = (page) => page.getByRole('textbox', { name: 'Your message' });
const hint = (page, text) => page.locator('.editor .hint').getByText(text).waitFor();
const said = (page) => page.locator('.message .body').allTextContents();

// talk has every text sent and answered by the provider, which says what it was told.
async function talk(page, ...texts) {
  for (const text of texts) {
    await send(page, text);
    await says(page, text, { whole: true });
    await state(page, 'idle');
  }
  return chatOf(page);
}

// edit opens the field in the place of a message.
async function edit(page, text) {
  const message = page.locator('.message.user').filter({ hasText: text });
  await message.hover();
  await message.getByRole('button', { name: 'Edit' }).click();
  await editor(page).waitFor();
}

async function shows(page, ...texts) {
  await page.waitForFunction((texts) => JSON.stringify([...document.querySelectorAll('.message .body')].map((body) => body.textContent)) === texts, JSON.stringify(texts));
}

const texts = async (id) => (await api('GET', `/v1/chats/${id}/messages`)).messages.map((message) => message.parts.map((part) => part.text).join(''));

test('a message is written anew, and what came after it goes, in every tab', async (t) => {
  const page = await visit(t);
  const id = await talk(page, 'one', 'two', 'three');
  const second = await tab(page.context(), base, `#/chat/${id}`);
  await shows(second, 'one', 'one', 'two', 'two', 'three', 'three');
  await edit(page, 'two');
  assert.equal(await editor(page).inputValue(), 'two');
  await hint(page, 'Sending replaces the answer and the turn after it.');
  await editor(page).fill('two, better');
  await picture(page, 'editing');
  await page.getByRole('button', { name: 'Send' }).first().click();
  for (const one of [page, second]) {
    await shows(one, 'one', 'one', 'two, better', 'two, better');
    await state(one, 'idle');
  }
  assert.equal(await editor(page).count(), 0);
  assert.deepEqual(await texts(id), ['one', 'one', 'two, better', 'two, better']);
  await talk(page, 'and on');
});

test('an answer is had again, and one further up only when the person says so', async (t) => {
  const page = await visit(t);
  const id = await talk(page, 'first', 'second');
  const { messages } = await api('GET', `/v1/chats/${id}/messages`);
  await page.locator('.message.assistant').last().getByRole('button', { name: 'Answer again' }).click();
  await until('another answer', async () => (await api('GET', `/v1/chats/${id}/messages?after=${messages.at(-1).id}`)).messages.length === 2);
  await state(page, 'idle');
  await shows(page, 'first', 'first', 'second', 'second');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'composer');

  const again = async () => {
    await page.locator('.message.assistant').first().hover();
    await page.locator('.message.assistant').first().getByRole('button', { name: 'Answer again' }).click();
    await page.getByRole('dialog', { name: 'Answer again from here?' }).getByText('The turn after this answer goes with it').waitFor();
  };
  await again();
  await picture(page, 'again');
  await page.keyboard.press('Escape');
  assert.deepEqual(await texts(id), ['first', 'first', 'second', 'second']);
  await again();
  await page.getByRole('dialog').getByRole('button', { name: 'Answer again' }).click();
  await shows(page, 'first', 'first');
});

test('what somebody else says meanwhile is replaced only by who has seen it', async (t) => {
  const page = await visit(t);
  const id = await talk(page, 'mine');
  const second = await tab(page.context(), base, `#/chat/${id}`);
  await edit(page, 'mine');
  await editor(page).fill('mine, anew');
  await talk(second, 'theirs');
  await hint(page, 'The chat went on meanwhile. Sending replaces the answer and the turn after it.');
  await editor(page).press('Enter');
  await page.locator('.editor .problem').getByText('Something came meanwhile').waitFor();
  await picture(page, 'moved');
  assert.equal(await editor(page).inputValue(), 'mine, anew');
  assert.deepEqual(await texts(id), ['mine', 'mine', 'theirs', 'theirs']);
  await page.getByRole('button', { name: 'Send anyway' }).click();
  await shows(page, 'mine, anew', 'mine, anew');
  await shows(second, 'mine, anew', 'mine, anew');
});

test('what somebody says in the very moment is not replaced', async (t) => {
  const page = await visit(t, { expected: [/status of 409/] });
  const id = await talk(page, 'mine');
  await edit(page, 'mine');
  await editor(page).fill('mine, anew');
  await page.route('**/truncate', async (route) => { // on its way, another message is faster
    await api('POST', `/v1/chats/${id}/messages`, { text: 'theirs' });
    await route.continue();
  }, { times: 1 });
  await editor(page).press('Enter');
  await page.locator('.editor .problem').getByText('Another message came just now. Nothing was changed.').waitFor();
  assert.equal(await editor(page).inputValue(), 'mine, anew');
  await until('theirs is answered', async () => (await texts(id)).length === 4);
  assert.deepEqual(await texts(id), ['mine', 'mine', 'theirs', 'theirs']);
});

test('an answer that goes on is no reason to refuse', async (t) => {
  const page = await visit(t, { expected: [/status of 409/] });
  await talk(page, 'before');
  await send(page, '#tokens=20 #hold=10 #gate=goes-on');
  const id = await chatOf(page);
  await says(page, counted(10), { whole: true });
  await edit(page, '#tokens');
  await hint(page, 'Sending stops the answer under way.');
  await editor(page).fill('something shorter');
  await page.route('**/truncate', async (route) => { // on its way, the answer ends, and with that the version is another one
    await open('goes-on');
    await until('it is answered', async () => (await api('GET', `/v1/chats/${id}`)).chat.status === 'waiting');
    await route.continue();
  }, { times: 1 });
  await editor(page).press('Enter');
  await shows(page, 'before', 'before', 'something shorter', 'something shorter');
});

test('an answer under way is stopped by an edit, and the queue waits on', async (t) => {
  const page = await visit(t);
  await send(page, '#tokens=20 #hold=10 #gate=under-way');
  const id = await chatOf(page);
  await says(page, counted(10), { whole: true });
  await send(page, 'waits');
  await page.locator('.waiting').getByText('waits').waitFor();
  await page.getByRole('textbox', { name: 'Message', exact: true }).press('ArrowUp');
  assert.equal(await editor(page).inputValue(), '#tokens=20 #hold=10 #gate=under-way');
  await editor(page).fill('instead');
  await editor(page).press('Enter');
  await shows(page, 'instead', 'instead', 'waits', 'waits');
  await state(page, 'idle');
  assert.deepEqual(await texts(id), ['instead', 'instead', 'waits', 'waits']);
  await open('under-way');
});

test('an edit whose answer is lost is known to be accepted by what is heard', async (t) => {
  const page = await visit(t, { expected: [/ERR_FAILED/] });
  const id = await talk(page, 'first');
  await edit(page, 'first');
  await editor(page).fill('anew');
  await page.route('**/truncate', async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await editor(page).press('Enter');
  await shows(page, 'anew', 'anew');
  await editor(page).waitFor({ state: 'detached' });
  assert.deepEqual(await texts(id), ['anew', 'anew']);
});

test('a replica that dies under the hand takes neither the text nor the old answer with it', async (t) => {
  const { workers } = await api('GET', '/v1/workers');
  const homes = new Map([...process.env.GREETING.matchAll(/(dev-\d+) +pid \d+, (http:\S+)/g)].map(([, name, url]) => [name, url]));
  const { pid, name } = workers.find((worker) => worker.status === 'live' && homes.has(worker.name));
  const page = await visit(t, { at: homes.get(name), expected: [/ERR_/] });
  const id = await talk(page, 'kept');
  await edit(page, 'kept');
  await editor(page).fill('kept, and better');
  process.kill(pid, 'SIGKILL');
  await page.locator('.link[data-state=lost]').waitFor();
  await editor(page).press('Enter');
  await page.locator('.editor .problem').getByText('no replica answers here').waitFor();
  assert.equal(await editor(page).inputValue(), 'kept, and better');
  assert.deepEqual(await texts(id), ['kept', 'kept']);
  await shows(page, 'kept');
  await page.locator('.link[data-state=open]').waitFor(); // it was started again
  await editor(page).press('Enter');
  await shows(page, 'kept, and better', 'kept, and better');
});

test('what was typed survives another chat and a reload', async (t) => {
  const page = await visit(t);
  const id = await talk(page, 'of the first chat');
  await edit(page, 'of the first chat');
  await editor(page).fill('half an edit');
  const field = page.getByRole('textbox', { name: 'Message', exact: true });
  await field.fill('half a message');
  // A new chat has a field of its own, from the first key on, and what is typed while it is made stays with it.
  await page.evaluate(() => {
    document.getElementById('new').click();
    document.getElementById('composer').value += 'at once';
    document.getElementById('composer').dispatchEvent(new Event('input'));
  });
  assert.equal(await field.inputValue(), 'at once');
  await field.fill('');
  await page.route('**/v1/chats', async (route) => {
    await field.fill('typed on');
    await route.continue();
  }, { times: 1 });
  await field.fill('of the second chat');
  await field.press('Enter');
  await says(page, 'of the second chat', { whole: true });
  await state(page, 'idle');
  assert.equal(await field.inputValue(), 'typed on');
  await page.getByRole('button', { name: 'New chat' }).click();
  assert.equal(await field.inputValue(), '');
  await page.goBack();
  await page.waitForFunction(() => document.getElementById('composer').value === 'typed on');
  await field.fill('');
  await page.goBack();
  await page.goBack();
  for (let i = 0; i < 2; i++) {
    await page.waitForFunction(() => document.querySelector('.editor textarea')?.value === 'half an edit' && document.getElementById('composer').value === 'half a message');
    assert.equal(await chatOf(page), id);
    await page.reload();
  }
  await editor(page).press('Escape'); // what was typed is not dropped by that
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Cancel');
  await page.keyboard.press('Enter');
  await shows(page, 'of the first chat', 'of the first chat');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Edit');
  await field.fill('');
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});

test('the text of an edit outlives its message', async (t) => {
  const page = await visit(t);
  const id = await talk(page, 'early', 'late');
  await edit(page, 'late');
  await editor(page).fill('late, much better');
  const { messages } = await api('GET', `/v1/chats/${id}/messages`);
  await api('POST', `/v1/chats/${id}/truncate`, { message: messages[0].id, text: 'early, anew' });
  await hint(page, 'This message was removed elsewhere.');
  await picture(page, 'orphan');
  await page.getByRole('button', { name: 'Send as a new message' }).click();
  await shows(page, 'early, anew', 'early, anew', 'late, much better', 'late, much better');

  await edit(page, 'early');
  await editor(page).fill('mine');
  await api('POST', `/v1/chats/${id}/truncate`, { message: (await api('GET', `/v1/chats/${id}/messages`)).messages[0].id, text: 'theirs' });
  await hint(page, 'This message was changed elsewhere. Sending replaces that.');
  await editor(page).press('Enter');
  await editor(page).press('Enter');
  await shows(page, 'mine', 'mine');
});
