// What the suite of the AI SDK's clients stands on: a chat without a page, and a network with several replicas behind one address.
import { AbstractChat } from 'ai';

const replicas = process.env.PROCESSOR_URLS.split(',');

export const pids = process.env.PROCESSOR_PIDS.split(',').map(Number);

// balanced is a fetch that goes to any replica that is alive, beginning with a given one, as a load balancer's does.
export function balanced(first = 0) {
  const order = [...replicas.slice(first), ...replicas.slice(0, first)];
  return async (path, init) => {
    let last;
    for (const base of order) {
      try {
        return await fetch(new URL(path, base), init);
      } catch (error) {
        if (init?.signal?.aborted) throw error;
        last = error;
      }
    }
    throw last;
  };
}

export const call = balanced();

export async function json(path, init) {
  const response = await call(path, init);
  if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  return response.json();
}

// transcript is what the service holds of a chat, as lines.
export async function transcript(id) {
  const { messages } = await json(`/v1/chats/${id}/messages?limit=200`);
  return messages.map((m) => `${m.role} ${m.finish ?? ''} ${textOf(m)}`.replace('  ', ' '));
}

export const textOf = (message) => message.parts.filter((p) => p.type === 'text').map((p) => p.text).join('');

// counted is what the models of the tests say when they are asked for n words.
export const counted = (n) => Array.from({ length: n }, (_, i) => `w${i} `).join('');

// cutAfter is a fetch whose first stream is cut after n frames: cleanly, or as a broken connection. The others are whole.
export function cutAfter(n, broken, inner = call) {
  let cut = false;
  return async (path, init) => {
    const response = await inner(path, init);
    if (cut || !response.body) return response;
    cut = true;
    return new Response(response.body.pipeThrough(frames(n, broken)), { status: response.status, headers: response.headers });
  };
}

function frames(n, broken) {
  const decoder = new TextDecoder();
  const encoder = new TextEncoder();
  let rest = '';
  let count = 0;
  return new TransformStream({
    transform(bytes, controller) {
      const all = (rest + decoder.decode(bytes, { stream: true })).split('\n\n');
      rest = all.pop();
      for (const frame of all) {
        if (count < n) controller.enqueue(encoder.encode(`${frame}\n\n`));
        if (frame.startsWith('data:')) count += 1;
      }
      if (count < n) return;
      if (broken) controller.error(new Error('cut'));
      else controller.terminate();
    },
  });
}

// Chat is useChat without React: the state is a plain object.
export class Chat extends AbstractChat {
  constructor(init) {
    super({ ...init, state: new State(init.messages ?? []) });
  }

  // until waits for a state of the chat.
  until(what, holds) {
    return this.state.until(what, () => holds(this));
  }
}

class State {
  #messages;
  #status = 'ready';
  #waiting = new Set();
  error = undefined;

  constructor(messages) {
    this.#messages = messages;
  }

  get messages() {
    return this.#messages;
  }

  set messages(messages) {
    this.#messages = messages;
    this.#changed();
  }

  get status() {
    return this.#status;
  }

  set status(status) {
    this.#status = status;
    this.#changed();
  }

  pushMessage = (message) => {
    this.messages = [...this.messages, message];
  };

  popMessage = () => {
    this.messages = this.messages.slice(0, -1);
  };

  replaceMessage = (index, message) => {
    this.messages = this.messages.map((m, i) => (i === index ? this.snapshot(message) : m));
  };

  snapshot = (value) => structuredClone(value);

  #changed() {
    for (const look of this.#waiting) look();
  }

  until(what, holds, patience = 60_000) {
    return new Promise((resolve, reject) => {
      const look = () => {
        if (!holds()) return;
        clearTimeout(late);
        this.#waiting.delete(look);
        resolve();
      };
      const late = setTimeout(() => {
        this.#waiting.delete(look);
        reject(new Error(`waited in vain for ${what}: ${this.#status} ${this.error} ${JSON.stringify(this.#messages)}`));
      }, patience);
      this.#waiting.add(look);
      look();
    });
  }
}

// eventually asks again until the answer will do. Each question is a round trip.
export async function eventually(what, ask, patience = 60_000) {
  const end = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`waited in vain for ${what}`);
  }
}
