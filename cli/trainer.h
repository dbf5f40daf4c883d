// One training run: its network, its optimizer, its place in the data, and its checkpoint.
#pragma once

#include <tenon/compile.h>
#include <tenon/data.h>
#include <tenon/device.h>
#include <tenon/io.h>
#include <tenon/nn.h>
#include <tenon/optim.h>

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "train_options.h"

namespace cli {

/// The images, and what all runs need to know of them.
struct Data {
    tenon::ImageDataset sets;
    /// Of the training pixels, each from 0 to 1.
    float mean = 0, deviation = 1;
    /// Of all images and labels: a run is resumed on the data it began with.
    std::string fingerprint;
};

/// Throws tenon::FileError.
Data load_data(const std::string& name);

struct Epoch {
    double train_loss = 0, train_accuracy = 0, test_loss = 0, test_accuracy = 0;
    /// Training images a second, and the time of the epoch with its test and checkpoints; not known of epochs that
    /// another process ran.
    std::optional<double> images_per_second, seconds;
};

/// A loss that is no longer finite.
struct Diverged : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Trainer {
  public:
    /// Throws tenon::Error for options that make no network. Computes nothing.
    Trainer(const RunOptions& options, const Data& data);

    const RunOptions& options() const { return options_; }
    /// Every number that is trained.
    std::int64_t parameters() const;
    /// Of one image, forward; the linear maps alone.
    std::int64_t multiply_adds() const { return model_.cost().multiply_adds; }

    /// Computes the parameters a run begins with.
    void initialize();
    /// Goes on where the checkpoint was written. Throws tenon::Error naming the file and, where the checkpoint is of
    /// another run, the first option that differs; the trainer is then as it was.
    void resume(const std::string& path);
    /// Depends on the options, the data and the number of steps alone.
    void save(const std::string& path) const;

    bool finished() const { return epoch() == options_.epochs; }
    std::int64_t epoch() const { return static_cast<std::int64_t>(epochs_.size()); }
    std::int64_t step_count() const { return step_; }
    std::int64_t images_seen() const;
    std::int64_t images_to_see() const { return options_.epochs * train_images_; }
    /// The epochs that are over.
    const std::vector<Epoch>& epochs() const { return epochs_; }

    /// One batch. Returns whether it was the epoch's last; then `end_epoch` is due. Throws Diverged; the
    /// parameters are those after the step then, or on a GPU after some more: losses are read some steps at a time
    /// there, so that it does not wait for the host.
    bool step();
    /// Of the batches of this epoch whose losses are read.
    double mean_loss() const;
    /// Reads the losses that have not been read yet, which `save` requires. Throws Diverged.
    void settle();
    /// Computes loss and accuracy on the test set, and adds the epoch to `epochs`.
    void end_epoch();
    /// The epoch just added; its times.
    Epoch& last_epoch() { return epochs_.back(); }

  private:
    struct Pending {
        std::int64_t step, images;
        tenon::Tensor loss, correct;
    };

    void test(Epoch& epoch);
    tenon::Tensor on_device(const tenon::Tensor& t) const { return tenon::to_device(t, device_); }
    tenon::Tree on_device(const tenon::Tree& tree) const;
    /// Parameters and moments, to the run's device.
    void place();
    /// The step that is compiled. Its arguments are parameters, state, images, labels and the key of dropout; it gives
    /// the next parameters and state, the loss, and the number of images that are classified correctly.
    tenon::Tree recorded_step(const tenon::Tree& arguments) const;
    /// The network of these parameters, in the precision of the run.
    tenon::nn::Mlp network_of(const tenon::Tree& params) const;
    tenon::Tensor logits_of(const tenon::nn::Mlp& model, const tenon::Tensor& images,
                            const tenon::random::Key* dropout) const;

    RunOptions options_;
    tenon::Device device_;
    tenon::DType precision_;
    std::string fingerprint_;
    std::int64_t train_images_;
    tenon::random::Key dropout_key_;
    tenon::nn::Mlp model_;
    tenon::optim::AdamW optimizer_;
    tenon::CompiledCalls steps_;
    tenon::BatchLoader train_, test_;
    tenon::Tree params_, state_;
    std::int64_t step_ = 0;
    // Of the epoch so far.
    double loss_sum_ = 0;
    std::int64_t correct_ = 0, seen_ = 0;
    std::vector<Pending> pending_;
    std::int64_t images_read_ = 0;  // of the epoch, whose losses are in loss_sum_
    std::vector<Epoch> epochs_;
};

}  // namespace cli
