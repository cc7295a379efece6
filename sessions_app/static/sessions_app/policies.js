"use strict";

// The policy form: shows only the fields that the chosen schedule and steps need, and previews when the policy
// would run and what it would remove. Without this script, the form shows all fields and no preview.
(function () {
    const WAIT_MILLISECONDS = 400;
    const SHOWN = {
        manual: [],
        daily: ["at"],
        weekly: ["weekday", "at"],
        monthly: ["month_day", "at"],
        cron: ["schedule"],
    };
    const PARTS = ["weekday", "month_day", "at", "schedule"];

    const panel = document.getElementById("policy-live");
    const form = document.getElementById("cleanuppolicy_form");
    const frequency = document.getElementById("id_frequency");
    if (!panel || !form || !frequency) {
        return;
    }
    const words = document.getElementById("schedule-words");
    const preview = document.getElementById("live-preview");
    let timer = null;
    let latest = 0;

    function showParts() {
        for (const name of PARTS) {
            const row = form.querySelector(`.form-row.field-${name}`);
            if (row) {
                row.hidden = !SHOWN[frequency.value].includes(name);
            }
        }
    }

    function showStep(step) {
        const criterion = step.querySelector("select[name$='-criterion']");
        if (!criterion) {
            return;
        }
        const per = step.querySelector("select[name$='-keep_per']");
        const isNewest = criterion.value === "newest";
        const shown = {
            max_age_days: criterion.value.startsWith("expired"),
            keep_count: isNewest,
            keep_per: isNewest,
            keep_key: isNewest && per.value === "metadata",
        };
        for (const [name, isShown] of Object.entries(shown)) {
            const input = step.querySelector(`[name$='-${name}']`);
            input.closest(".form-multiline > div").hidden = !isShown;
            if (!isShown && input !== per) {
                input.value = "";
            }
        }
    }

    function showSteps() {
        form.querySelectorAll("#steps-group .inline-related").forEach(showStep);
    }

    async function showSchedule(number) {
        const query = new URLSearchParams();
        for (const name of ["frequency", ...PARTS]) {
            query.set(name, form.elements.namedItem(name).value);
        }
        const response = await fetch(`${panel.dataset.schedule}?${query}`, {
            headers: { Accept: "application/json" },
        });
        if (response.ok && !response.redirected && number === latest) {
            const answer = await response.json();
            words.textContent = answer.error || answer.text;
        }
    }

    async function showPreview(number) {
        panel.setAttribute("aria-busy", "true");
        const response = await fetch(panel.dataset.preview, { method: "POST", body: new FormData(form) });
        if (response.ok && !response.redirected && number === latest) {
            const page = new DOMParser().parseFromString(await response.text(), "text/html");
            preview.replaceChildren(...page.body.childNodes);
        }
        panel.removeAttribute("aria-busy");
    }

    async function refresh() {
        latest += 1;
        try {
            await Promise.all([showSchedule(latest), showPreview(latest)]);
        } catch (error) {
            // The panel may be restarting. The next change tries again.
        }
    }

    function changed() {
        showParts();
        showSteps();
        window.clearTimeout(timer);
        timer = window.setTimeout(refresh, WAIT_MILLISECONDS);
    }

    form.addEventListener("input", changed);
    form.addEventListener("change", changed);
    // Django's script adds and removes rows.
    document.addEventListener("formset:added", changed);
    document.addEventListener("formset:removed", changed);
    panel.hidden = false;
    showParts();
    showSteps();
    refresh();
})();
