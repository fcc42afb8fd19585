// The official openai package against replicas that serve the Responses API. REPLICAS are their addresses; at CONTROL the provider's answers are held
// and replicas are killed.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createOpenAI } from '@ai-sdk/openai';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';

const replicas = process.env.REPLICAS.split(' ');
const clientOf = (address, options = {}) => new OpenAI({ baseURL: `http://${address}/v1`, apiKey: 'none', ...options });
const alive = () => clientOf(replicas[0]);

async function control(method, path) {
  const reply = await fetch(`${process.env.CONTROL}/${path}`, { method });
  assert.equal(reply.status, 200);
  return reply.text();
}

const chatOf = (id) => id.slice('resp_'.length, id.lastIndexOf('_'));
const model = 'test';

// words says what #tokens=N is answered with.
const words = (n) => Array.from({ length: n }, (_, i) => `w${i}`).join(' ');
const squeezed = (text) => text.trim().replace(/\s+/g, ' ');

// textOf adds up the deltas of the items that the final output has.
function textOf(events, final) {
  const kept = new Set(final.output.map((item) => item.id));
  return events.filter((e) => e.type === 'response.output_text.delta' && kept.has(e.item_id)).map((e) => e.delta).join('');
}

async function all(stream) {
  const events = [];
  for await (const e of stream) events.push(e);
  return events;
}

async function kill(address) {
  replicas.splice(replicas.indexOf(address), 1);
  await control('POST', `kill/${address}`);
}

test('a response is created and read again', async () => {
  const client = alive();
  const made = await client.responses.create({ model, input: '#tokens=5', instructions: 'be brief', metadata: { a: 'b' }, temperature: 0.5 });
  assert.equal(made.status, 'completed');
  assert.equal(squeezed(made.output_text), words(5));
  assert.deepEqual(made.metadata, { a: 'b' });
  assert.equal(made.instructions, 'be brief');
  assert.equal(made.temperature, 0.5);
  assert.equal(made.model, model);
  assert.ok(made.usage.total_tokens > 0);
  assert.deepEqual(await client.responses.retrieve(made.id), made);
});

test('a stream tells what happens, and its helper ends with the response', async () => {
  const stream = alive().responses.stream({ model, input: '#tokens=6 #think=3' });
  const events = await all(stream);
  const final = await stream.finalResponse();
  assert.equal(events[0].type, 'response.created');
  assert.equal(events.at(-1).type, 'response.completed');
  assert.deepEqual(final.output.map((item) => item.type), ['reasoning', 'message']);
  assert.equal(textOf(events, final), final.output_text);
  assert.deepEqual(await alive().responses.retrieve(final.id).then((r) => r.output), events.at(-1).response.output);
});

test('a stream that was cut after any event goes on on another replica', async () => {
  const live = await all(await alive().responses.create({ model, input: '#tokens=8 #think=2 #reset=5 #times=1', stream: true }));
  const final = live.at(-1).response;
  assert.equal(squeezed(textOf(live, final)), words(8));
  for (const [i, e] of live.entries()) {
    const other = clientOf(replicas[i % replicas.length]);
    const rest = await all(await other.responses.retrieve(final.id, { stream: true, starting_after: e.sequence_number }));
    if (i === live.length - 1) assert.deepEqual(rest, []);
    else assert.deepEqual(rest.at(-1), live.at(-1));
    const numbers = [...live.slice(0, i + 1), ...rest].map((x) => x.sequence_number);
    assert.deepEqual(numbers, [...new Set(numbers)].sort((x, y) => x - y));
    assert.equal(textOf([...live.slice(0, i + 1), ...rest], final), textOf(live, final));
    const helper = other.responses.stream({ response_id: final.id, starting_after: e.sequence_number });
    assert.equal(squeezed((await helper.finalResponse()).output_text), words(8));
  }
});

test('a response in the background is polled', async () => {
  const client = alive();
  let r = await client.responses.create({ model, input: '#tokens=20 #delay=20ms', background: true });
  assert.ok(['queued', 'in_progress'].includes(r.status), r.status);
  assert.equal(r.background, true);
  const end = Date.now() + 60_000;
  while (['queued', 'in_progress'].includes(r.status) && Date.now() < end) r = await client.responses.retrieve(r.id);
  assert.equal(r.status, 'completed');
  assert.equal(squeezed(r.output_text), words(20));
});

test('another client cancels, once and again, and all who watch are told', async () => {
  const stream = await alive().responses.create({ model, input: '#tokens=20 #hold=4', background: true, stream: true });
  const iterator = stream[Symbol.asyncIterator]();
  const { id } = (await iterator.next()).value.response;
  await control('POST', `held/${chatOf(id)}`);
  const other = clientOf(replicas[1]);
  const viewers = Array.from({ length: 10 }, (_, i) => clientOf(replicas[i % replicas.length]).responses.stream({ response_id: id }));
  await Promise.all(viewers.map((v) => new Promise((done) => v.once('response.output_text.delta', done))));
  const cancelled = await other.responses.cancel(id);
  assert.equal(cancelled.status, 'cancelled');
  assert.deepEqual(await other.responses.cancel(id), cancelled);
  for (const v of viewers) {
    const r = await v.finalResponse();
    assert.equal(r.status, 'cancelled');
    assert.equal(squeezed(r.output_text), words(4));
  }
  for (let next = await iterator.next(); !next.done; next = await iterator.next()) {
    if (next.value.type === 'response.incomplete') assert.equal(next.value.response.status, 'cancelled');
  }
  assert.equal(squeezed((await alive().responses.retrieve(id)).output_text), words(4));
});

test('a disconnect cancels nothing', async () => {
  const stream = await alive().responses.create({ model, input: '#tokens=10 #hold=3', stream: true });
  let id;
  for await (const e of stream) {
    id ??= e.response?.id;
    if (e.type === 'response.output_text.delta') break; // which ends the connection
  }
  await control('POST', `open/${chatOf(id)}`);
  const final = (await all(await alive().responses.retrieve(id, { stream: true }))).at(-1).response;
  assert.equal(final.status, 'completed');
  assert.equal(squeezed((await alive().responses.retrieve(id)).output_text), words(10));
});

test('responses continue the newest and fork from an older one', async () => {
  const client = alive();
  const first = await client.responses.create({ model, input: 'first' });
  const second = await client.responses.create({ model, input: 'second', previous_response_id: first.id });
  const fork = await client.responses.create({ model, input: 'fork', previous_response_id: first.id });
  assert.equal(chatOf(second.id), chatOf(first.id));
  assert.notEqual(chatOf(fork.id), chatOf(first.id));
  assert.equal(fork.previous_response_id, first.id);
  assert.equal(fork.output_text, 'fork');
  const items = await client.conversations.items.list(`conv_${chatOf(fork.id)}`, { order: 'asc' });
  assert.deepEqual(items.data.map((item) => item.content[0].text), ['first', 'first', 'fork', 'fork']);
  const input = await client.responses.inputItems.list(second.id);
  assert.deepEqual(input.data.map((item) => item.content[0].text), ['second']);
});

test('a client that keeps the history itself sends it back as it came, stored or not', async () => {
  for (const store of [true, false]) {
    const input = [{ role: 'developer', content: 'be brief' }, { role: 'user', content: '#tokens=3 #think=2' }];
    const ask = () => alive().responses.create({ model, input, store, include: ['reasoning.encrypted_content'] });
    const first = await ask();
    assert.equal(first.store, store);
    input.push(...first.output, { role: 'user', content: 'and then' });
    const second = await ask();
    assert.equal(second.output_text, 'and then');
    const stream = alive().responses.stream({ model, input: [...input, ...second.output, { role: 'user', content: '#tokens=4' }], store });
    const third = await stream.finalResponse();
    assert.equal(squeezed(third.output_text), words(4));
    if (store) {
      const given = await alive().responses.inputItems.list(second.id, { order: 'asc' });
      assert.deepEqual(given.data.map((item) => [item.role, squeezed(item.content[0].text)]), [['user', '#tokens=3 #think=2'], ['assistant', words(3)], ['user', 'and then']]);
    }
    for (const { id } of [first, second, third]) {
      if (store) assert.equal((await clientOf(replicas[1]).responses.retrieve(id, { include: ['reasoning.encrypted_content'] })).id, id);
      else await assert.rejects(clientOf(replicas[1]).responses.retrieve(id), OpenAI.NotFoundError);
    }
  }
});

test('a response after turns that were had elsewhere forks from the one before', async () => {
  const client = alive();
  const first = await client.responses.create({ model, input: 'first' });
  const input = [{ role: 'assistant', content: 'by the way' }, { role: 'user', content: 'next' }];
  const fork = await client.responses.create({ model, input, previous_response_id: first.id });
  assert.equal(fork.previous_response_id, first.id);
  const items = await client.conversations.items.list(`conv_${chatOf(fork.id)}`, { order: 'asc' });
  assert.deepEqual(items.data.map((item) => `${item.role}: ${item.content[0].text}`), ['user: first', 'assistant: first', 'assistant: by the way', 'user: next', 'assistant: next']);
});

// The AI SDK names what it was told before by the items' ids, and says it again where nothing is stored.
test('the provider of the AI SDK holds a conversation', async () => {
  for (const providerOptions of [undefined, { openai: { store: false } }]) {
    const messages = [];
    let last;
    for (const content of ['one', '#tokens=3', 'three']) {
      const provider = createOpenAI({ baseURL: `http://${replicas[messages.length % replicas.length]}/v1`, apiKey: 'none' });
      messages.push({ role: 'user', content });
      last = await generateText({ model: provider(model), system: 'be brief', messages, providerOptions, maxRetries: 0 });
      messages.push(...last.response.messages);
    }
    assert.deepEqual([last.text, last.finishReason], ['three', 'stop']);
    const provider = createOpenAI({ baseURL: `http://${replicas[0]}/v1`, apiKey: 'none' });
    messages.push({ role: 'user', content: '#tokens=6' });
    const stream = streamText({ model: provider(model), messages, providerOptions, maxRetries: 0 });
    assert.equal(squeezed(await stream.text), words(6));
    if (providerOptions) continue;
    const items = await alive().conversations.items.list(`conv_${chatOf((await stream.response).id)}`, { order: 'asc' });
    const told = ['one', 'one', '#tokens=3', words(3), 'three', 'three', '#tokens=6', words(6)];
    assert.deepEqual(items.data.map((item) => squeezed(item.content[0].text)), told);
  }
});

test('conversations hold items and responses', async () => {
  const client = alive();
  const conversation = await client.conversations.create({
    metadata: { topic: 'x' },
    items: [{ type: 'message', role: 'user', content: 'hi' }, { type: 'message', role: 'assistant', content: 'hello' }],
  });
  assert.deepEqual(await client.conversations.retrieve(conversation.id), conversation);
  const r = await client.responses.create({ model, input: 'how are you', conversation: conversation.id });
  assert.deepEqual(r.conversation, { id: conversation.id });
  await client.conversations.items.create(conversation.id, { items: [{ type: 'message', role: 'user', content: 'by the way' }] });
  const seen = [];
  for await (const item of client.conversations.items.list(conversation.id, { order: 'asc', limit: 2 })) seen.push(item.content[0].text);
  assert.deepEqual(seen, ['hi', 'hello', 'how are you', 'how are you', 'by the way']);
  assert.equal((await client.conversations.delete(conversation.id)).deleted, true);
  await assert.rejects(client.conversations.retrieve(conversation.id), OpenAI.NotFoundError);
  await assert.rejects(client.responses.retrieve(r.id), OpenAI.NotFoundError);
});

test('a conversation gets other metadata, and keeps its items', async () => {
  const client = alive();
  const { id } = await client.conversations.create({ metadata: { topic: 'x', k: 'v' }, items: [{ type: 'message', role: 'user', content: 'hi' }] });
  const updated = await clientOf(replicas[1]).conversations.update(id, { metadata: { topic: 'y' } });
  assert.deepEqual(updated.metadata, { topic: 'y' });
  assert.deepEqual(await client.conversations.retrieve(id), updated);
  assert.deepEqual((await client.conversations.update(id, { metadata: null })).metadata, {});
  const [item] = (await client.conversations.items.list(id)).data;
  assert.deepEqual(await client.conversations.items.retrieve(item.id, { conversation_id: id }), item);
  await assert.rejects(client.conversations.items.delete(item.id, { conversation_id: id }), (e) => {
    assert.ok(e instanceof OpenAI.BadRequestError);
    assert.equal(e.code, 'unsupported_operation');
    return true;
  });
  await assert.rejects(client.conversations.update('conv_nope', { metadata: {} }), OpenAI.NotFoundError);
});

test('a response that is the only one is deleted', async () => {
  const client = alive();
  const r = await client.responses.create({ model, input: 'once' });
  await client.responses.delete(r.id);
  await assert.rejects(client.responses.retrieve(r.id), OpenAI.NotFoundError);
});

test('what a deleted response said stays in its conversation', async () => {
  const client = alive();
  const first = await client.responses.create({ model, input: 'first' });
  const second = await client.responses.create({ model, input: 'second', previous_response_id: first.id });
  const conversation = `conv_${chatOf(first.id)}`;
  const before = await client.conversations.items.list(conversation);
  await client.responses.delete(first.id);
  const other = clientOf(replicas[1]);
  for (const gone of [
    () => other.responses.retrieve(first.id), () => other.responses.retrieve(first.id, { stream: true }), () => other.responses.cancel(first.id),
    () => other.responses.inputItems.list(first.id), () => other.responses.delete(first.id),
    () => other.responses.create({ model, input: 'x', previous_response_id: first.id }),
  ]) await assert.rejects(gone, OpenAI.NotFoundError);
  assert.deepEqual((await other.conversations.items.list(conversation)).data, before.data);
  assert.deepEqual(await other.responses.retrieve(second.id), second);
  const third = await other.responses.create({ model, input: 'third', previous_response_id: second.id });
  assert.equal(chatOf(third.id), chatOf(first.id));
});

test('failures are told', async () => {
  const client = alive();
  const failed = await client.responses.create({ model, input: '#status=400' });
  assert.equal(failed.status, 'failed');
  assert.equal(failed.error.code, 'invalid_prompt');
  const stream = client.responses.stream({ model, input: '#status=400' });
  assert.equal((await all(stream)).at(-1).type, 'response.failed');
  const cut = await client.responses.create({ model, input: '#tokens=5 #length' });
  assert.deepEqual([cut.status, cut.incomplete_details], ['incomplete', { reason: 'max_output_tokens' }]);
  await assert.rejects(client.responses.create({ model, input: 'x', tools: [{ type: 'web_search' }] }), (e) => {
    assert.ok(e instanceof OpenAI.BadRequestError);
    assert.deepEqual([e.code, e.param, e.type], ['unsupported_parameter', 'tools', 'invalid_request_error']);
    return true;
  });
});

test('an answer whose replica is killed is made again, and not doubled', async () => {
  const { id } = await alive().responses.create({ model, input: '#tokens=12 #hold=6', background: true });
  await control('POST', `held/${chatOf(id)}`);
  const owner = await control('GET', `owner/${chatOf(id)}`);
  const relay = clientOf(replicas.find((address) => address !== owner));
  const helper = relay.responses.stream({ response_id: id });
  const raw = await relay.responses.retrieve(id, { stream: true });
  await new Promise((done) => helper.once('response.output_text.delta', done));
  await kill(owner);
  await control('POST', `held/${chatOf(id)}`);
  await control('POST', `open/${chatOf(id)}`);
  const final = await helper.finalResponse();
  assert.equal(final.status, 'completed');
  assert.equal(squeezed(final.output_text), words(12));
  const events = await all(raw);
  assert.equal(textOf(events, final), final.output_text);
  assert.equal(events.at(-1).response.output.length, 1);
});

test('a stream whose relay is killed goes on elsewhere', async () => {
  const { id } = await alive().responses.create({ model, input: '#tokens=12 #hold=6', background: true });
  await control('POST', `held/${chatOf(id)}`);
  const owner = await control('GET', `owner/${chatOf(id)}`);
  const relay = replicas.find((address) => address !== owner);
  const events = [];
  await assert.rejects(async () => {
    for await (const e of await clientOf(relay).responses.retrieve(id, { stream: true })) {
      events.push(e);
      if (e.type === 'response.output_text.delta') await kill(relay);
    }
    throw new Error('the connection ended as if the stream were over');
  });
  await control('POST', `open/${chatOf(id)}`);
  const rest = await all(await clientOf(owner).responses.retrieve(id, { stream: true, starting_after: events.at(-1).sequence_number }));
  assert.equal(squeezed(textOf([...events, ...rest], rest.at(-1).response)), words(12));
});
