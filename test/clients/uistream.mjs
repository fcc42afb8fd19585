// The AI SDK's chat clients against several replicas: PROCESSOR_URLS lists their addresses. The last tests kill two of them.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';

import { WorkflowChatTransport } from '@ai-sdk/workflow/client';
import { DefaultChatTransport, readUIMessageStream } from 'ai';

import { balanced, call, Chat, counted, cutAfter, eventually, json, pids, textOf, transcript } from './lib/uichat.mjs';

const user = (text, id = randomUUID()) => ({ id, role: 'user', parts: [{ type: 'text', text }] });
const asked = (id, text) => ({ chatId: id, messages: [user(text)], trigger: 'submit-message' });

const standard = (options = {}) => new DefaultChatTransport({ api: '/api/chat', fetch: call, ...options });
const counting = (options = {}) => new WorkflowChatTransport({
  fetch: call,
  prepareSendMessagesRequest: ({ id, messages, trigger, messageId }) => ({ body: { id, messages, trigger, messageId } }),
  ...options,
});

const open = (id, messages, options) => new Chat({ id, messages, transport: standard(options) });

async function chunksOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function messageOf(stream) {
  let last;
  for await (const message of readUIMessageStream({ stream, terminateOnError: true })) last = message;
  return last;
}

const replay = (chunks) => messageOf(new ReadableStream({ start(c) { chunks.forEach((x) => c.enqueue(x)); c.close(); } }));

const owner = async (id) => {
  const { chat } = await json(`/v1/chats/${id}`);
  const { workers } = await json('/v1/workers');
  return workers.find((w) => w.id === chat.worker);
};

test('a chat sends, streams and goes on', async () => {
  const chat = open(randomUUID());
  await chat.sendMessage({ text: 'hello #think=3 #tokens=5' });
  assert.equal(chat.status, 'ready', chat.error);
  assert.deepEqual(chat.messages.map((m) => m.role), ['user', 'assistant']);
  assert.equal(chat.lastMessage.id, `msg_${chat.id}_1`);
  assert.equal(textOf(chat.lastMessage), counted(5));
  assert.equal(chat.lastMessage.parts.filter((p) => p.type === 'reasoning').length, 1);
  assert.ok(chat.lastMessage.parts.every((p) => p.state !== 'streaming'));
  await chat.sendMessage({ text: 'and again' });
  assert.equal(textOf(chat.lastMessage), 'and again');
  assert.equal(chat.lastMessage.id, `msg_${chat.id}_2`);
  assert.deepEqual(await transcript(chat.id), [
    'user hello #think=3 #tokens=5', `assistant stop ${counted(5)}`, 'user and again', 'assistant stop and again']);
  const { messages } = await json(`/v1/chats/${chat.id}/messages`);
  assert.equal(messages[0].client_id, chat.messages[0].id);
});

test('a message that is read alone', async () => {
  const message = await messageOf(await standard().sendMessages(asked(randomUUID(), 'one two three')));
  assert.equal(textOf(message), 'one two three');
});

test('the transport that counts works as it comes, without an id', async () => {
  let run;
  const transport = new WorkflowChatTransport({ fetch: call, onChatSendMessage: (r) => { run = r.headers.get('x-workflow-run-id'); } });
  const chunks = await chunksOf(await transport.sendMessages(asked('unused', 'hello')));
  assert.equal(chunks.at(-1).finishReason, 'stop');
  assert.deepEqual(await transcript(run.split('.')[0]), ['user hello', 'assistant stop hello']);
});

test('a stream that is cut after any chunk goes on where it was', async () => {
  const text = '#think=2 #tokens=6 #delay=60ms';
  const whole = await chunksOf(await counting().sendMessages(asked(randomUUID(), text)));
  assert.ok(whole.length > 12, JSON.stringify(whole));
  const cuts = whole.flatMap((_, n) => [{ n, broken: false }, { n, broken: true }]);
  await Promise.all(cuts.map(async ({ n, broken }) => {
    const id = randomUUID();
    const got = await chunksOf(await counting({ fetch: cutAfter(n, broken) }).sendMessages(asked(id, text)));
    assert.equal(textOf(await replay(got)), counted(6), `cut after ${n}`);
    assert.deepEqual(got, await chunksOf(await counting().reconnectToStream({ chatId: id })), `cut after ${n}`);
  }));
});

test('the end of a stream is had from its tail', async () => {
  const id = randomUUID();
  const whole = await chunksOf(await counting().sendMessages(asked(id, '#tokens=6')));
  const got = await chunksOf(await counting({ initialStartIndex: -2 }).reconnectToStream({ chatId: id }));
  assert.deepEqual(got, whole.slice(-2));
});

test('a page that was reloaded resumes, and finds nothing when nothing runs', async () => {
  const id = randomUUID();
  const fresh = open(id);
  await fresh.resumeStream();
  assert.equal(fresh.status, 'ready', fresh.error);
  assert.equal(fresh.messages.length, 0);
  const first = open(id);
  const sending = first.sendMessage({ text: '#tokens=200 #delay=20ms' });
  await first.until('some text', (c) => c.lastMessage?.role === 'assistant' && textOf(c.lastMessage).includes('w3'));
  const reloaded = open(id, first.messages.slice(0, 1));
  await reloaded.resumeStream();
  await sending;
  for (const chat of [first, reloaded]) {
    assert.equal(textOf(chat.lastMessage), counted(200));
    assert.equal(chat.lastMessage.id, `msg_${id}_1`);
    assert.equal(chat.messages.length, 2);
  }
  await reloaded.resumeStream();
  assert.equal(reloaded.messages.length, 2);
  assert.equal(await standard().reconnectToStream({ chatId: id }), null);
});

test('many watch one answer, through every replica', async () => {
  const id = randomUUID();
  const first = open(id);
  const sending = first.sendMessage({ text: '#tokens=250 #delay=20ms' });
  await first.until('the answer to begin', (c) => c.lastMessage?.role === 'assistant');
  const viewers = Array.from({ length: 20 }, (_, i) => open(id, first.messages.slice(0, 1), { fetch: balanced(i % 4) }));
  await Promise.all(viewers.map((v) => v.resumeStream()));
  await sending;
  for (const v of viewers) assert.equal(textOf(v.lastMessage), counted(250));
});

test('a client that leaves cancels nothing, and one that stops keeps what was said', async () => {
  const id = randomUUID();
  const first = open(id);
  const sending = first.sendMessage({ text: '#tokens=2000 #delay=20ms' });
  await first.until('some text', (c) => c.lastMessage?.role === 'assistant' && textOf(c.lastMessage).includes('w5'));
  await first.stop();
  await sending;
  assert.equal((await json(`/v1/chats/${id}`)).chat.status, 'running');
  const second = open(id, first.messages.slice(0, 1));
  const watching = second.resumeStream();
  await second.until('more text', (c) => c.lastMessage?.role === 'assistant' && textOf(c.lastMessage).includes('w8'));
  const counted = await counting().reconnectToStream({ chatId: id });
  const stopped = await call(`/api/chat/${id}/stop`, { method: 'POST' });
  assert.equal(stopped.status, 204);
  await watching;
  assert.equal(second.status, 'ready', second.error);
  const [, answer] = await transcript(id);
  assert.equal(answer, `assistant interrupted ${textOf(second.lastMessage)}`);
  assert.deepEqual((await chunksOf(counted)).slice(-2), [{ type: 'abort', reason: 'interrupted' }, { type: 'finish', finishReason: 'other' }]);
  assert.equal((await call(`/api/chat/${id}/stop`, { method: 'POST', body: JSON.stringify({ assistantMessage: second.lastMessage }) })).status, 204);
});

test('an answer is given again, and a message edited', async () => {
  const chat = open(randomUUID());
  await chat.sendMessage({ text: 'one' });
  await chat.sendMessage({ text: 'two' });
  await chat.sendMessage({ text: 'three' });
  await chat.regenerate();
  assert.equal(chat.lastMessage.id, `msg_${chat.id}_4`);
  assert.equal(textOf(chat.lastMessage), 'three');
  await chat.sendMessage({ text: 'second', messageId: chat.messages[2].id });
  assert.deepEqual(chat.messages.map(textOf), ['one', 'one', 'second', 'second']);
  await chat.regenerate({ messageId: chat.messages[1].id });
  const shown = chat.messages.map((m) => `${m.role}${m.role === 'user' ? '' : ' stop'} ${textOf(m)}`);
  assert.deepEqual(await transcript(chat.id), shown);
  assert.deepEqual(shown, ['user one', 'assistant stop one']);
});

test('an edit in mid-answer ends the stream of who watched that', async () => {
  const id = randomUUID();
  const first = open(id);
  const sending = first.sendMessage({ text: '#tokens=2000 #delay=20ms' });
  await first.until('some text', (c) => c.lastMessage?.role === 'assistant' && textOf(c.lastMessage).includes('w3'));
  const second = open(id, first.messages.slice(0, 1));
  await second.sendMessage({ text: 'rather this', messageId: first.messages[0].id });
  assert.equal(textOf(second.lastMessage), 'rather this');
  await sending;
  assert.equal(first.status, 'error');
  assert.match(first.error.message, /edited/);
  assert.deepEqual(await transcript(id), ['user rather this', 'assistant stop rather this']);
});

test('a request that is sent twice is done once', async () => {
  const id = randomUUID();
  const request = asked(id, 'hello');
  const [a, b] = await Promise.all([1, 2].map(async () => chunksOf(await counting().sendMessages(request))));
  assert.deepEqual(a, b);
  const again = { ...request, trigger: 'regenerate-message', messageId: `msg_${id}_1` };
  const first = await chunksOf(await counting().sendMessages(again));
  assert.equal(first[0].messageId, `msg_${id}_2`);
  assert.deepEqual(await chunksOf(await counting().sendMessages(again)), first);
  assert.deepEqual(await transcript(id), ['user hello', 'assistant stop hello']);
});

test('a message waits in the queue, and its stream with it', async () => {
  const id = randomUUID();
  const slow = counting().sendMessages(asked(id, '#tokens=40 #delay=20ms'));
  await eventually('the first turn to run', async () => (await call(`/v1/chats/${id}`)).ok && (await json(`/v1/chats/${id}`)).chat.status === 'running');
  const waiting = await chunksOf(await counting({ fetch: cutAfter(3, true) }).sendMessages(asked(id, 'later')));
  assert.equal(waiting[0].messageId, `msg_${id}_2`);
  assert.equal(waiting.filter((c) => c.type === 'text-delta').map((c) => c.delta).join(''), 'later');
  assert.equal((await chunksOf(await slow)).at(-1).finishReason, 'stop');
});

test('a failure is told as the text of an error, and the chat goes on', async () => {
  const chat = open(randomUUID());
  await chat.sendMessage({ text: '#status=401' });
  assert.equal(chat.status, 'error');
  assert.match(chat.error.message, /^auth: /);
  const chunks = await chunksOf(await counting().reconnectToStream({ chatId: chat.id }));
  assert.deepEqual(chunks.slice(-2).map((c) => [c.type, c.finishReason]), [['error', undefined], ['finish', 'error']]);
  await chat.sendMessage({ text: 'fine', messageId: chat.messages[0].id });
  assert.equal(textOf(chat.lastMessage), 'fine');
});

test('an answer that is cut at its limit says so', async () => {
  const chunks = await chunksOf(await counting().sendMessages(asked(randomUUID(), '#tokens=3 #length')));
  assert.equal(chunks.at(-1).finishReason, 'length');
});

test('what is not supported is refused by name, and nothing is written', async () => {
  const id = randomUUID();
  const chat = open(id);
  await chat.sendMessage({ parts: [{ type: 'file', mediaType: 'image/png', url: 'data:,' }] });
  assert.equal(chat.status, 'error');
  assert.match(chat.error.message, /"file" are not supported/);
  assert.equal((await call(`/v1/chats/${id}`)).status, 404);
});

// watch reads a stream, and says when so many chunks of it are there.
function watch(stream, n) {
  const { promise: there, resolve } = Promise.withResolvers();
  const done = (async () => {
    const chunks = [];
    for await (const chunk of stream) if (chunks.push(chunk) === n) resolve();
    return chunks;
  })();
  return { there, done };
}

test('the replica that makes the answer is killed, and so is whoever streams through it', async () => {
  const id = randomUUID();
  const text = '#tokens=300 #delay=20ms';
  const sending = counting().sendMessages(asked(id, text)).then(chunksOf);
  await eventually('the answer to begin', async () => (await call(`/v1/chats/${id}`)).ok && owner(id));
  const views = await Promise.all(pids.map(async (_, i) => watch(await counting({ fetch: balanced(i) }).reconnectToStream({ chatId: id }), 10)));
  await Promise.all(views.map((v) => v.there));
  process.kill((await owner(id)).pid, 'SIGKILL');
  const seen = await Promise.all(views.map((v) => v.done));
  for (const chunks of seen) assert.ok(chunks.some((c) => c.type === 'reset-step'), 'nobody said that the answer begins again');
  for (const chunks of [await sending, ...seen]) {
    assert.equal(textOf(await replay(chunks)), counted(300));
    assert.equal(chunks.filter((c) => c.type === 'finish').length, 1);
  }
  assert.deepEqual(await transcript(id), [`user ${text}`, `assistant stop ${counted(300)}`]);
});

test('the replica that streams the answer is killed', async () => {
  const id = randomUUID();
  const sending = counting().sendMessages(asked(id, '#tokens=200 #delay=20ms')).then(chunksOf);
  const working = await eventually('an owner', async () => (await call(`/v1/chats/${id}`)).ok && owner(id));
  const live = (await json('/v1/workers')).workers.filter((w) => w.status === 'live').map((w) => w.pid);
  const relay = pids.findIndex((pid) => pid !== working.pid && live.includes(pid));
  const stream = await counting({ fetch: balanced(relay) }).reconnectToStream({ chatId: id });
  const chunks = [];
  for await (const chunk of stream) if (chunks.push(chunk) === 20) process.kill(pids[relay], 'SIGKILL');
  assert.equal(textOf(await replay(chunks)), counted(200));
  assert.ok(!chunks.some((c) => c.type === 'reset-step'), 'nothing was void');
  assert.deepEqual(chunks.map((c) => c.type), (await sending).map((c) => c.type));
});
