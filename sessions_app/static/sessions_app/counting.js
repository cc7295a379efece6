"use strict";

// Waits for the numbers that the worker was asked for, and loads the page again when they are there. Without
// this script a link does.
(function () {
    const EVERY_MILLISECONDS = 1000;
    // What stands there when a page is loaded is not read out; what comes a moment later is.
    const TOLD_AFTER_MILLISECONDS = 500;

    const box = document.getElementById("counting");
    const told = document.getElementById("counting-told");
    const link = document.getElementById("counting-link");
    const end = performance.now() + Number(box.dataset.millisecondsLeft);

    // Where the focus is, as far as it can be found again.
    function focused() {
        const element = document.activeElement;
        if (element && element.id) {
            return `#${CSS.escape(element.id)}`;
        }
        const address = element && element.getAttribute("href");
        return address ? `a[href="${CSS.escape(address)}"]` : null;
    }

    // The browser keeps the place on the page by itself, and the state of its history, but not the focus.
    function load() {
        window.history.replaceState({ focused: focused() }, "");
        window.location.reload();
    }

    function restoreFocus() {
        const place = window.history.state && window.history.state.focused;
        const element = place && document.querySelector(place);
        if (element) {
            element.focus({ preventScroll: true });
        }
        window.history.replaceState(null, "");
    }

    function tell(text) {
        window.setTimeout(() => {
            told.textContent = text;
        }, TOLD_AFTER_MILLISECONDS);
    }

    async function isCounted() {
        try {
            const answer = await fetch(box.dataset.address, { headers: { Accept: "application/json" } });
            // Who was logged out meanwhile is to see that.
            return answer.redirected || (answer.ok && (await answer.json()).is_counted);
        } catch (error) {
            // The panel is starting again, perhaps: the next second asks anew.
            return false;
        }
    }

    async function follow() {
        if (await isCounted()) {
            load();
        } else if (performance.now() < end) {
            window.setTimeout(follow, EVERY_MILLISECONDS);
        } else {
            tell(box.dataset.late);
            link.hidden = false;
        }
    }

    restoreFocus();
    if (box.dataset.phase === "waiting") {
        link.hidden = true;
        tell(box.dataset.waiting);
        window.setTimeout(follow, EVERY_MILLISECONDS);
    } else {
        tell(told.textContent);
    }
})();
