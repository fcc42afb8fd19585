import { test } from 'node:test';

test('runs', () => {});
test('is skipped', { skip: true }, () => {});
