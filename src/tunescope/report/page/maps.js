"use strict";
// Attention maps of another kind, or of an earlier step, in the place of the pictures that the page brings.
{
  const place = document.getElementById("maps-data");
  const section = document.getElementById("maps");
  const data = place && JSON.parse(place.textContent);

  /** Weights of bicubic interpolation from so many places to so many, as Pillow has them. */
  const taps = (from, to) => {
    const cubic = (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0);
    return Array.from({ length: to }, (_, at) => {
      const centre = ((at + 0.5) * from) / to;
      const first = Math.max(0, Math.trunc(centre - 1.5));
      const last = Math.min(from, Math.trunc(centre + 2.5));
      const weights = Array.from({ length: last - first }, (_, i) => cubic(Math.abs(first + i + 0.5 - centre)));
      const sum = weights.reduce((a, b) => a + b, 0);
      return { first, weights: weights.map((weight) => weight / sum) };
    });
  };

  /** A map of bytes drawn out to side × side, 0…1. */
  const enlarged = (bytes, [height, width], side) => {
    const across = taps(width, side);
    const down = taps(height, side);
    const wide = new Float32Array(height * side);
    const field = new Float32Array(side * side);
    for (let y = 0; y < height; y++) {
      across.forEach(({ first, weights }, x) => {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * bytes[y * width + first + i];
        wide[y * side + x] = sum / 255;
      });
    }
    down.forEach(({ first, weights }, y) => {
      for (let x = 0; x < side; x++) {
        let sum = 0;
        for (let i = 0; i < weights.length; i++) sum += weights[i] * wide[(first + i) * side + x];
        field[y * side + x] = Math.min(1, Math.max(0, sum));
      }
    });
    return field;
  };

  /** 0…1 → red, green, blue. */
  const coloured = (value) => {
    const at = value * (data.ramp.length - 1);
    const low = Math.min(Math.floor(at), data.ramp.length - 2);
    return data.ramp[low].map((part, i) => part + (at - low) * (data.ramp[low + 1][i] - part));
  };

  /** The brightness of each point of an image on the page; null where there is none. */
  const greys = async (image) => {
    if (!image) return null;
    await image.decode();
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = data.side;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0, data.side, data.side);
    const { data: points } = context.getImageData(0, 0, data.side, data.side);
    return Float32Array.from({ length: data.side ** 2 }, (_, i) =>
      Math.round(0.299 * points[4 * i] + 0.587 * points[4 * i + 1] + 0.114 * points[4 * i + 2]),
    );
  };

  const paint = (canvas, bytes, grid, grey) => {
    const context = canvas.getContext("2d");
    const picture = context.createImageData(data.side, data.side);
    enlarged(bytes, grid, data.side).forEach((value, i) => {
      const weight = grey ? 0.4 + 0.4 * value : 1;
      coloured(value).forEach((part, c) => {
        picture.data[4 * i + c] = weight * part + (grey ? (1 - weight) * grey[i] : 0);
      });
      picture.data[4 * i + 3] = 255;
    });
    context.putImageData(picture, 0, 0);
  };

  const prepare = () => {
    const table = section.querySelector("table.maps");
    const controls = section.querySelector(".map-controls");
    const [kinds, slider] = [controls.querySelector("select"), controls.querySelector("input")];
    const told = controls.querySelector("output");
    const [bottom, top] = section.querySelectorAll(".ramp span");
    const bytes = new Map();

    const cells = Array.from(table.tBodies[0].rows, (row) => {
      const grey = greys(row.querySelector(".image img"));
      return Array.from(row.querySelectorAll(".map"), (cell) => {
        const canvas = document.createElement("canvas");
        canvas.width = canvas.height = data.side;
        canvas.setAttribute("role", "img");
        cell.append(canvas);
        return { cell, canvas, grey, alt: cell.querySelector("img").alt };
      });
    });

    const chosen = () => {
      const kind = data.kinds[kinds ? Number(kinds.value) : 0];
      const last = data.places.length - 1;
      const all = kind.maps.length === data.places.length;
      return { kind, at: slider && all ? Number(slider.value) : last, all };
    };

    const draw = async () => {
      const { kind, at, all } = chosen();
      const [maps, end] = [kind.maps[all ? at : 0], kind.maps[kind.maps.length - 1]];
      [bottom.textContent, top.textContent] = [kind.ends[0], `${kind.ends[1]} an even share`];
      table.querySelectorAll(".when").forEach((when, column) => (when.textContent = data.said[at][column]));
      if (slider) {
        slider.disabled = !all;
        told.textContent = all ? data.places[at] : `${data.places[at]}; of its other steps this map is not in the page`;
        slider.setAttribute("aria-valuetext", data.places[at]);
      }
      for (const [row, line] of cells.entries()) {
        const grey = await line[0].grey;
        for (const [column, { cell, canvas, alt }] of line.entries()) {
          const code = maps[column] === "" ? end[column] : maps[column];
          cell.classList.toggle("blank", code === null);
          const when = data.said[at][column];
          canvas.setAttribute("aria-label", `${alt}, ${code === null ? "not measured" : kind.label}${when && `, ${when}`}`);
          if (code === null) {
            canvas.getContext("2d").clearRect(0, 0, data.side, data.side);
            continue;
          }
          if (!bytes.has(code)) bytes.set(code, Uint8Array.from(atob(code), (letter) => letter.charCodeAt(0)));
          const [height, width] = data.grids[column];
          paint(canvas, bytes.get(code).subarray(row * height * width), data.grids[column], grey);
        }
      }
      table.classList.add("drawn");
      table.dataset.shown = `${data.kinds.indexOf(kind)} ${at}`;
    };

    controls.hidden = false;
    let running = null;
    let again = false;
    const change = async () => {
      again = true;
      if (running) return;
      while (again) {
        again = false;
        running = draw();
        await running;
      }
      running = null;
    };
    for (const control of [kinds, slider]) if (control) control.addEventListener("input", change);
  };

  const reach = () => {
    const columns = section.querySelectorAll("thead th[data-group]");
    section.querySelector(".none-left").hidden = Array.from(columns).some((column) => !column.hidden);
  };

  if (data) {
    prepare();
    document.addEventListener("narrowed", reach);
  }
}
