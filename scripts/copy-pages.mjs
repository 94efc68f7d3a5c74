// tsc leaves behind what is not TypeScript: the demo's page.
import { cpSync } from 'node:fs';

cpSync('src/demo/page', 'dist/demo/page', { recursive: true });
