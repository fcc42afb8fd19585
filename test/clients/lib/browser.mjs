// A browser for the tests: the distribution's Chromium, headless, with a profile of its own.
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

import { chromium } from 'playwright-core';

const names = ['chromium', 'chromium-browser', 'google-chrome'];
const elsewhere = [
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
];

function installed() {
  const folders = process.env.PATH.split(delimiter);
  const found = [...names.flatMap((name) => folders.map((folder) => join(folder, name))), ...elsewhere].find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (!found) throw new Error('Chromium is missing: run scripts/install-chromium');
  return found;
}

// launch starts a browser; it ends with close, and with this process. It asks nobody for updates, so what it requests is what the page does.
export function launch() {
  return chromium.launch({
    executablePath: installed(),
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
    ],
  });
}
