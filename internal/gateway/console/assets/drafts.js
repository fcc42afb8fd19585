// What a person has typed and not sent yet, by chat: the field's text and the messages that are being edited. It lasts as long as the tab, also when
// that is loaded again; a browser that keeps nothing keeps it as long as the page.

const prefix = 'processor.draft.';
const page = new Map();

export function draftOf(id) {
  const key = prefix + (id ?? '');
  let kept = page.get(key);
  try {
    kept ??= JSON.parse(sessionStorage.getItem(key));
  } catch {
    // What can't be read is no draft.
  }
  return { text: kept?.text ?? '', edits: kept?.edits ?? [] };
}

export function keepDraft(id, draft) {
  const key = prefix + (id ?? '');
  const empty = !draft.text && !draft.edits.length;
  if (empty) page.delete(key);
  else page.set(key, draft);
  try {
    if (empty) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify(draft));
  } catch {
    // It is in the page.
  }
}

export function forgetDrafts() {
  page.clear();
  for (const key of Object.keys(sessionStorage)) if (key.startsWith(prefix)) sessionStorage.removeItem(key);
}
