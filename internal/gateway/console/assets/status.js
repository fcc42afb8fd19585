// A chat's state in words. Four statuses are kept; people want to know a little more.
import { clock } from './dom.js';

// describe names the state. know is what only a watcher of the chat has: trouble, live text, how the last turn finished, and for how long its replica
// has been silent.
export function describe(chat, know = {}, now = Date.now()) {
  const { trouble, live, finish, silence } = know;
  switch (chat.status) {
    case 'error':
      return { key: 'error', label: 'Error' };
    case 'pending':
      if (trouble?.kind === 'moved') return { key: 'recovering', label: 'Handed over' };
      if (trouble?.kind === 'lost' || chat.recoveries > 0) return { key: 'recovering', label: 'Recovering' };
      return { key: 'queued', label: 'Queued' };
    case 'running': {
      if (silence) return { key: 'recovering', label: 'Replica silent' };
      if (chat.interrupt_requested) return { key: 'stopping', label: 'Stopping' };
      const retry = trouble?.kind === 'retry' ? trouble.at : !live && chat.attempts > 0 && chat.retry_at;
      if (retry && new Date(retry) > now) return { key: 'retrying', label: `Retrying at ${clock(retry)}` };
      if (trouble && trouble.kind !== 'retry') return { key: 'recovering', label: 'Recovering' };
      return live ? { key: 'answering', label: 'Answering' } : { key: 'thinking', label: 'Thinking' };
    }
    default:
      return finish === 'interrupted' ? { key: 'interrupted', label: 'Interrupted' } : { key: 'idle', label: 'Idle' };
  }
}

export const busy = (chat) => chat?.status === 'pending' || chat?.status === 'running';
