// What the suites stand on is there: the clients load in this Node.js, and a browser shows a page.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { launch } from './lib/browser.mjs';

test('the clients load', async () => {
  const { default: OpenAI } = await import('openai');
  const { DefaultChatTransport, readUIMessageStream } = await import('ai');
  const { WorkflowChatTransport } = await import('@ai-sdk/workflow/client');
  for (const part of [OpenAI, DefaultChatTransport, readUIMessageStream, WorkflowChatTransport]) assert.equal(typeof part, 'function');
});

test('a browser shows a page and runs its script', async () => {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    await page.setContent('<p id=p></p><script>p.textContent = navigator.userAgent</script>');
    assert.match(await page.locator('#p').textContent(), /Chrom/);
  } finally {
    await browser.close();
  }
});
