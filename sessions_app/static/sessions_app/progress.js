"use strict";

// Follows a run on its page. Without this script the page tells how far it was when it was loaded.
(function () {
    const EVERY_MILLISECONDS = 1000;
    // The worker stops a long run at its deadline and takes it up again at once.
    const PAUSES_ALLOWED = 5;

    const box = document.getElementById("progress");
    const bar = document.getElementById("progress-bar");
    const text = document.getElementById("progress-text");
    const told = document.getElementById("progress-told");
    let quarter = 0;
    let pauses = 0;

    function show(progress) {
        text.textContent = progress.text;
        if (progress.phase !== "working") {
            return;
        }
        bar.max = progress.total || 1;
        bar.value = progress.done;
        // Read out at each quarter: a voice that told every second would be of no use.
        const reached = Math.floor((4 * progress.done) / (progress.total || 1));
        if (reached > quarter) {
            quarter = reached;
            told.textContent = progress.text;
        }
    }

    function hasChanged(progress) {
        if (progress.phase === box.dataset.phase) {
            pauses = 0;
            return false;
        }
        pauses += 1;
        return progress.state !== "interrupted" || pauses > PAUSES_ALLOWED;
    }

    async function follow() {
        let progress = null;
        try {
            const answer = await fetch(box.dataset.address, { headers: { Accept: "application/json" } });
            if (answer.redirected) {
                window.location.reload();
                return;
            }
            progress = answer.ok ? await answer.json() : null;
        } catch (error) {
            // The panel is starting again, perhaps: the next second asks anew.
        }
        if (progress !== null) {
            show(progress);
            if (hasChanged(progress)) {
                window.location.reload();
                return;
            }
        }
        window.setTimeout(follow, EVERY_MILLISECONDS);
    }

    if (box) {
        window.setTimeout(follow, EVERY_MILLISECONDS);
    }
})();
