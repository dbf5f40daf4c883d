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

/// The images, and the properties of them that all runs need.
struct Data {
    tenon::ImageDataset sets;
    /// Mean and standard deviation of the training pixels, which are scaled to [0, 1].
    float mean = 0, deviation = 1;
    /// A hash of all images and labels: a run must be resumed on the data that it began with.
    std::string fingerprint;
};

/// Throws tenon::FileError.
Data load_data(const std::string& name);

struct Epoch {
    double train_loss = 0, train_accuracy = 0, test_loss = 0, test_accuracy = 0;
    /// Training images a second, and the time of the epoch with its test and checkpoints. Unknown for epochs that
    /// another process ran.
    std::optional<double> images_per_second, seconds;
};

/// Thrown when a loss is not finite.
struct Diverged : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Trainer {
  public:
    /// Throws tenon::Error if the options describe no network. Computes nothing.
    Trainer(const RunOptions& options, const Data& data);

    const RunOptions& options() const { return options_; }
    /// The number of trained parameters.
    std::int64_t parameters() const;
    /// Multiply-adds for one image, forward, in the linear maps.
    std::int64_t multiply_adds() const { return model_.cost().multiply_adds; }

    /// Computes the initial parameters.
    void initialize();
    /// Restores the state of a checkpoint. Throws tenon::Error that names the file and, if the checkpoint is of another
    /// run, the first option that differs; the trainer is then unchanged.
    void resume(const std::string& path);
    /// The file's bytes depend only on the options, the data and the number of steps.
    void save(const std::string& path) const;

    bool finished() const { return epoch() == options_.epochs; }
    std::int64_t epoch() const { return static_cast<std::int64_t>(epochs_.size()); }
    std::int64_t step_count() const { return step_; }
    std::int64_t images_seen() const;
    std::int64_t images_to_see() const { return options_.epochs * train_images_; }
    /// The epochs that have ended.
    const std::vector<Epoch>& epochs() const { return epochs_; }

    /// Trains on one batch. Returns whether it was the epoch's last; end_epoch must be called then. Throws Diverged;
    /// the parameters are then those after this step, or on a GPU those some steps later: there the losses of several
    /// steps are read together, so that the device does not wait for the host.
    bool step();
    /// The mean loss of those batches of this epoch whose losses have been read.
    double mean_loss() const;
    /// Reads the losses that have not been read yet, which `save` requires. Throws Diverged.
    void settle();
    /// Computes loss and accuracy on the test set and appends the epoch to `epochs`.
    void end_epoch();
    /// Sets the times of the last epoch.
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
    /// The compiled step. Its arguments are parameters, state, images, labels and the key of dropout. It returns the
    /// next parameters and state, the loss, and the number of images that are classified correctly.
    tenon::Tree recorded_step(const tenon::Tree& arguments) const;
    /// The network with these parameters, in the precision of the run.
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
    // Sums over this epoch so far.
    double loss_sum_ = 0;
    std::int64_t correct_ = 0, seen_ = 0;
    std::vector<Pending> pending_;
    std::int64_t images_read_ = 0;  // of the epoch, whose losses are in loss_sum_
    std::vector<Epoch> epochs_;
};

}  // namespace cli
