import { listenAsStub } from './stub.js';

listenAsStub(Number(process.argv[2]));
