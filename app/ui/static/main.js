// @ts-check
// The entry of the dashboard: the frame, the session, then the page of the address.
import { fill } from "./lib/dom.js";
import { poll } from "./lib/live.js";
import { begin } from "./lib/router.js";
import { problem } from "./parts/bits.js";
import { install as installFrame } from "./parts/frame.js";
import { install as installSignIn, start } from "./parts/signin.js";

installFrame();
installSignIn();
poll(
  async () => {
    await start();
    begin();
    return false;
  },
  {
    signal: new AbortController().signal,
    onError: (error) =>
      fill(
        /** @type {Element} */ (document.getElementById("main")),
        problem(error, "The dashboard cannot be shown"),
      ),
  },
);
