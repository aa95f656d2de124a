// Imported first: what the SDK has to say goes to standard error, since standard output is for the steps alone.

import { Console } from "node:console";

globalThis.console = new Console(process.stderr, process.stderr);
