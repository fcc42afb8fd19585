// The console of a deployment that wants a token.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { chatOf, picture, says, send, start, state, stop, visit } from './lib/console.mjs';

const secret = process.env.PROCESSOR_SECRET;

before(start);
after(stop);

test('the page asks for a token, keeps it in its tab, and sends it in no address', async (t) => {
  const page = await visit(t, { expected: [/status of 401/] });
  const addresses = [];
  page.on('request', (request) => addresses.push(request.url()));
  const dialog = page.getByRole('dialog', { name: 'This deployment wants a token' });
  await dialog.waitFor();
  await picture(page, 'token');
  await dialog.getByLabel('Token').fill('not-the-token');
  await page.keyboard.press('Enter');
  await page.getByText('This token is not accepted.').waitFor();
  await dialog.getByLabel('Token').fill(secret);
  await page.keyboard.press('Enter');
  await dialog.waitFor({ state: 'hidden' });
  await page.locator('.link[data-state=open]').waitFor();
  await send(page, 'behind a token');
  await says(page, 'behind a token', { whole: true });
  await state(page, 'idle');
  const id = await chatOf(page);

  await page.reload();
  await says(page, 'behind a token', { whole: true });
  assert.deepEqual(await page.evaluate(() => [JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]),
    [JSON.stringify({ 'processor.token': secret }), '{}', '']);
  assert.ok(addresses.some((url) => url.endsWith(`/v1/chats/${id}/events`)));
  assert.ok(!addresses.some((url) => url.includes(secret)));

  await page.getByRole('button', { name: 'Sign out' }).click();
  await dialog.waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
});
