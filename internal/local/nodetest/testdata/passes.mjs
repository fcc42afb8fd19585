import { test } from 'node:test';

test(`hears: ${process.env.WORD}`, () => {});
